package value

import (
	"iter"
	"strings"
)

// Leaves yields the values that a path of members leads to in v, a JSON value, each as Element
// gives it; for an object it is that. Every element of a list on the way is looked into, and of
// a list at the end too. Null and what is absent are left out.
func (v Value) Leaves(path []string) iter.Seq[Value] {
	return func(yield func(Value) bool) {
		if v.typ == JSON {
			leaves(v.text, path, yield)
		}
	}
}

// leaves reports whether to go on.
func leaves(raw string, path []string, yield func(Value) bool) bool {
	switch {
	case raw[0] == '[':
		for e := range OfJSON(raw).Elements() {
			if !leaves(e, path, yield) {
				return false
			}
		}
		return true
	case len(path) == 0 && raw[0] == '{':
		return yield(OfJSON(raw))
	case len(path) == 0:
		e := Element(raw)
		return e.IsNull() || yield(e)
	case raw[0] != '{':
		return true
	}
	for rest := raw[1:]; rest[0] != '}'; {
		n := elementLen(rest) // with its name
		member := rest[:n]
		rest = strings.TrimPrefix(rest[n:], ",")
		end := nameLen(member)
		if name := Element(member[:end]); name.text == path[0] {
			return leaves(member[end+1:], path[1:], yield)
		}
	}
	return true
}

// nameLen is the length of the quoted name that a member begins with.
func nameLen(member string) int {
	i := 1
	for ; member[i] != '"'; i++ {
		if member[i] == '\\' {
			i++
		}
	}
	return i + 1
}
