package schema

import (
	"fmt"
	"strconv"
	"strings"
)

// How the tags of a struct are read.

// tagOptions lists the options of an orm tag, for errors.
const tagOptions = "primaryKey, auto, index, index:name, unique, unique:name, fold, ordered, ordered:name, column:name, hidden, version, createdAt, updatedAt, and - by itself"

// tagProblem says what keeps package reflect from reading a struct tag to its end: it would
// ignore the rest without a word. Only tags that mean something to natsorm matter.
func tagProblem(tag string) string {
	if !strings.Contains(tag, "orm") && !strings.Contains(tag, "json") {
		return ""
	}
	for tag = strings.TrimLeft(tag, " "); tag != ""; tag = strings.TrimLeft(tag, " ") {
		i := 0
		for i < len(tag) && tag[i] > ' ' && tag[i] != ':' && tag[i] != '"' && tag[i] != 0x7f {
			i++
		}
		if i == 0 || i+1 >= len(tag) || tag[i] != ':' || tag[i+1] != '"' {
			return fmt.Sprintf("%q is not key:\"value\"", tag)
		}
		key, rest := tag[:i], tag[i+1:]
		for i = 1; i < len(rest) && rest[i] != '"'; i++ {
			if rest[i] == '\\' {
				i++
			}
		}
		if i >= len(rest) {
			return fmt.Sprintf("the value of %s has no end", key)
		}
		if _, err := strconv.Unquote(rest[:i+1]); err != nil {
			return fmt.Sprintf("the value of %s is %s, which is not valid in Go", key, rest[:i+1])
		}
		tag = rest[i+1:]
	}
	return ""
}

// splitTag is the options of an orm tag, without spaces and empty ones.
func splitTag(tag string) []string {
	var out []string
	for part := range strings.SplitSeq(tag, ",") {
		if part = strings.TrimSpace(part); part != "" {
			out = append(out, part)
		}
	}
	return out
}

// hasOption reports whether the options of a json tag have this one.
func hasOption(opts, want string) bool {
	for o := range strings.SplitSeq(opts, ",") {
		if o == want {
			return true
		}
	}
	return false
}
