package main

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	"github.com/natsorm/natsorm/embedded"
)

func TestQuickstart(t *testing.T) {
	t.Parallel()
	srv, err := embedded.Start(embedded.Config{Port: -1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { srv.Close() })
	for _, url := range []string{"", srv.URL(), srv.URL()} { // twice on one server: it clears up first
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		var out bytes.Buffer
		if err := run(ctx, &out, url); err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{
			"by id        {1 Alice alice@example.com 30}", "by e-mail    {2 Bob bob@example.com 30}", "aged 30      2",
			`"alice@example.com" is taken by User 1`, "updated [age] 30 -> 31", "deleted Alice", "User.index.name.Bob.2", "User.shard_2.2",
		} {
			if !strings.Contains(out.String(), want) {
				t.Errorf("on %q the output lacks %q:\n%s", url, want, out.String())
			}
		}
	}
}
