// Package explain prints what a plan says as text: a tree of accesses, with costs. It
// knows neither models nor plans, so that it is pure text.
package explain

import (
	"fmt"
	"strings"
	"time"
)

// Node is a line of a tree, and the lines below it.
type Node struct {
	Line string
	Kids []Node
}

// Tree prints the tree under a title. Each line works on what the lines below it give.
func Tree(title string, root Node) string {
	var b strings.Builder
	b.WriteString(title + "\n")
	root.write(&b, "", true)
	return b.String()
}

func (n Node) write(b *strings.Builder, indent string, last bool) {
	branch, below := "├─ ", "│  "
	if last {
		branch, below = "└─ ", "   "
	}
	b.WriteString(indent + branch + n.Line + "\n")
	for i, kid := range n.Kids {
		kid.write(b, indent+below, i == len(n.Kids)-1)
	}
}

// Title is a model with the steps that come last: what is done with all that is found.
func Title(model string, orderBy []string, after bool, offset int, limit *int) string {
	var steps []string
	if len(orderBy) > 0 {
		steps = append(steps, "order by "+strings.Join(orderBy, ", "))
	}
	if after {
		steps = append(steps, "after a cursor")
	}
	if offset > 0 {
		steps = append(steps, fmt.Sprintf("offset %d", offset))
	}
	if limit != nil {
		steps = append(steps, fmt.Sprintf("limit %d", *limit))
	}
	if len(steps) == 0 {
		return model
	}
	return model + ": " + strings.Join(steps, ", ")
}

// Access is one way to find records: its path, the columns and the values that are looked
// up, and how many more values there are.
func Access(path string, columns, lookups []string, more int) string {
	var b strings.Builder
	b.WriteString(path)
	if len(columns) > 0 {
		fmt.Fprintf(&b, " (%s)", strings.Join(columns, ", "))
	}
	for i, l := range lookups {
		sep := " "
		if i > 0 {
			sep = " | "
		}
		b.WriteString(sep + l)
	}
	if more > 0 {
		fmt.Fprintf(&b, " | … %d more", more)
	}
	return b.String()
}

// Reads is what an access reads.
func Reads(entries, records int) string {
	if entries > 0 {
		return plural(entries, "entry", "entries") + ", " + plural(records, "record", "records")
	}
	return plural(records, "record", "records")
}

// Cost is what a query takes; again is how many of the requests were sent before.
func Cost(keys, requests, again int, bytes int64, took time.Duration) string {
	sent := plural(requests, "request", "requests")
	if again > 0 {
		sent += fmt.Sprintf(" (%d sent again)", again)
	}
	return fmt.Sprintf("%s, %s, %s, %s", plural(keys, "key", "keys"), sent, byteText(bytes), timeText(took))
}

func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

func byteText(n int64) string {
	switch {
	case n < 1000:
		return fmt.Sprintf("%d B", n)
	case n < 1_000_000:
		return fmt.Sprintf("%.1f kB", float64(n)/1e3)
	default:
		return fmt.Sprintf("%.1f MB", float64(n)/1e6)
	}
}

func timeText(d time.Duration) string {
	if d < 10*time.Millisecond {
		return fmt.Sprintf("%.2f ms", float64(d.Nanoseconds())/1e6)
	}
	return fmt.Sprintf("%.0f ms", float64(d.Nanoseconds())/1e6)
}
