package plan

import (
	"strings"

	"github.com/natsorm/natsorm/internal/cond"
	"github.com/natsorm/natsorm/internal/schema"
)

// Text is what an access looks up: the columns, and the values as text, at most so many of them; more is
// how many others there are.
func (a Access) Text(def *schema.Definition, most int) (columns, lookups []string, more int) {
	show := func(text string) {
		if len(lookups) < most {
			lookups = append(lookups, text)
		} else {
			more++
		}
	}
	switch a.Path {
	case Key:
		columns = []string{def.Key().Name}
		for _, v := range a.Keys {
			show(cond.ValueText(v))
		}
	case Range:
		columns = a.Index.Columns
		for _, l := range a.Lookups {
			for _, in := range l.Intervals {
				show(in.Text(l.Values))
			}
		}
	case Index, Unique:
		columns = a.Index.Columns[:len(a.Lookups[0].Values)]
		for _, l := range a.Lookups {
			texts := make([]string, len(l.Values))
			for i, v := range l.Values {
				texts[i] = cond.ValueText(v)
			}
			show(strings.Join(texts, ", "))
		}
	}
	return columns, lookups, more
}
