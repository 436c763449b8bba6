package commit

import (
	"fmt"
	"strings"
	"testing"

	"github.com/natsorm/natsorm/internal/layout"
	"github.com/natsorm/natsorm/internal/store"
	"github.com/natsorm/natsorm/internal/value"
)

// footprint is one of record 7, with entries and claims that are given by their keys.
func footprint(entries, claims string) *layout.Footprint {
	f := &layout.Footprint{ID: value.OfInt(7), Record: "M.shard_7.7", Entries: strings.Fields(entries)}
	for _, key := range strings.Fields(claims) {
		f.Claims = append(f.Claims, layout.Claim{Key: key, Columns: []string{key}, Text: key})
	}
	return f
}

func claimKeys(claims []layout.Claim) string {
	var out []string
	for _, c := range claims {
		out = append(out, c.Key)
	}
	return strings.Join(out, " ")
}

// What a plan adds and gives up.
func TestNewPlan(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name                    string
		old, new                *layout.Footprint
		entries, claims         string
		release, releasedClaims string
	}{
		{"create", nil, footprint("e1 e2", "c1"), "e1 e2", "c1", "", ""},
		{"delete", footprint("e1 e2", "c1"), nil, "", "", "e1 e2 c1", "c1"},
		{"nothing changes", footprint("e1", "c1"), footprint("e1", "c1"), "", "", "", ""},
		{"an entry changes", footprint("e1 e2", "c1"), footprint("e1 e3", "c1"), "e3", "", "e2", ""},
		{"a claim changes", footprint("e1", "c1 c2"), footprint("e1", "c1 c3"), "", "c3", "c2", "c2"},
		{"a value is null now", footprint("e1", "c1"), footprint("e2", ""), "e2", "", "e1 c1", "c1"},
		{"and is not null any more", footprint("e2", ""), footprint("e1", "c1"), "e1", "c1", "e2", ""},
		{"no record before and after", nil, nil, "", "", "", ""},
	} {
		doc := []byte("{}")
		if c.new == nil {
			doc = nil
		}
		p := NewPlan(store.Message{Key: "M.shard_7.7", Revision: 3}, c.old, c.new, doc, []byte("7"), true)
		for what, got := range map[string][2]string{
			"entries":         {strings.Join(p.Entries, " "), c.entries},
			"claims":          {claimKeys(p.Claims), c.claims},
			"release":         {strings.Join(p.Release, " "), c.release},
			"released claims": {strings.Join(p.Claimed(), " "), c.releasedClaims},
		} {
			if got[0] != got[1] {
				t.Errorf("%s: %s are %q, want %q", c.name, what, got[0], got[1])
			}
		}
		if p.Record != "M.shard_7.7" || p.Expect != 3 || (p.Doc == nil) != (c.new == nil) {
			t.Errorf("%s: %+v", c.name, p)
		}
	}
}

// text is an op in a word: + puts, - removes, and @ is what it is checked to be at.
func text(op store.Op) string {
	s := "+" + op.Key
	if op.Delete {
		s = "-" + op.Key
	}
	if op.Conditional {
		s += fmt.Sprint("@", op.Expect)
	}
	return s
}

func texts(ops []store.Op) string {
	out := make([]string, len(ops))
	for i, op := range ops {
		out[i] = text(op)
	}
	return strings.Join(out, " ")
}

// The writes of a plan in one step: entries, their heads, claims, what goes, and the
// record in the end. Claims only go that are the record's.
func TestOps(t *testing.T) {
	t.Parallel()
	p := NewPlan(store.Message{Key: "r", Revision: 3}, footprint("e1 e2", "c1 c2 c3"), footprint("e2 e3 e4", "c2 c4"), []byte("{}"), []byte("7"), true)
	p.Heads = []string{"h"}
	taken := func(key string) uint64 { return map[string]uint64{"c4": 9}[key] }
	ops := p.Ops(taken, map[string]uint64{"c1": 5})
	if got, want := texts(ops), "+e3 +e4 +h +c4@9 -e1 -c1@5 +r@3"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if claim := ops[3]; string(claim.Value) != "7" {
		t.Errorf("the claim holds %q", claim.Value)
	}
	if record := ops[6]; !record.Settle || string(record.Value) != "{}" {
		t.Errorf("the record's write is %+v", record)
	}
	gone := NewPlan(store.Message{Key: "r", Revision: 3}, footprint("e1", ""), nil, nil, []byte("7"), true)
	if got, want := texts(gone.Ops(nil, nil)), "-e1 -r@3"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestFenceOp(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		cur  store.Message
		want store.Op
	}{
		{"a record", store.Message{Key: "r", Revision: 3, Value: []byte("{}")}, store.Op{Key: "r", Value: []byte("{}"), Fence: 3, Conditional: true, Expect: 3, Settle: true}},
		{"a record that was fenced", store.Message{Key: "r", Revision: 9, Fence: 3, Value: []byte("{}")}, store.Op{Key: "r", Value: []byte("{}"), Fence: 3, Conditional: true, Expect: 9, Settle: true}},
		{"a deleted record", store.Message{Key: "r", Revision: 4, Deleted: true}, store.Op{Key: "r", Delete: true, Conditional: true, Expect: 4, Settle: true}},
		{"no record", store.Message{Key: "r"}, store.Op{Key: "r", Delete: true, Conditional: true, Settle: true}},
	} {
		if got := FenceOp(c.cur); fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", c.want) {
			t.Errorf("%s: %+v, want %+v", c.name, got, c.want)
		}
	}
}
