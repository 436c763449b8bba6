package delivery

import (
	"testing"
	"time"
)

func TestParse(t *testing.T) {
	want := Delivery{Revision: 42, Consumer: 7, At: time.Unix(0, 1700000000123456789).UTC(), Pending: 3}
	for _, reply := range []string{
		"$JS.ACK.KV_b.cons.1.42.7.1700000000123456789.3",
		"$JS.ACK._.hash.KV_b.cons.1.42.7.1700000000123456789.3",
		"$JS.ACK.domain.hash.KV_b.cons.1.42.7.1700000000123456789.3.random",
	} {
		if got, ok := Parse(reply); !ok || got != want {
			t.Errorf("%s: %+v, %v", reply, got, ok)
		}
	}
}

// FuzzParse: whatever the subject, it is read or refused.
func FuzzParse(f *testing.F) {
	f.Add("$JS.ACK.KV_b.cons.1.42.7.1700000000123456789.3")
	f.Add("........")
	f.Add("$JS.ACK.a.b.c.d.e.f.g.h.i.j.k.l")
	f.Fuzz(func(t *testing.T, reply string) { Parse(reply) })
}
