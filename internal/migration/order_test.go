package migration_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/keys"
	"github.com/natsorm/natsorm/internal/migration"
	"github.com/natsorm/natsorm/internal/store"
)

// What the bucket has had is the beginning of the list. Otherwise the list is refused, and the
// error names the steps and says what to do.
func TestOrder(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		had    string // the steps that are done
		failed string // one that has failed
		list   string
		does   string
		says   []string // the error has these; none: there is none
	}{
		"nothing yet":                   {list: "a b", does: "a b"},
		"all":                           {had: "a b", list: "a b"},
		"more":                          {had: "a", list: "a b c", does: "b c"},
		"an older program":              {had: "a b c", list: "a b"},
		"an older program, one fails":   {had: "a b", failed: "c", list: "a b"},
		"one that failed":               {had: "a", failed: "b", list: "a b c", does: "b c"},
		"a step before one that failed": {had: "a", failed: "b", list: "a new b", does: "new b"},
		"one is missing":                {had: "a b c", list: "a c", says: []string{`"b"`, `"c"`, "place 2", "put"}},
		"one is missing, and new":       {had: "a b", list: "a c", says: []string{`"b"`, `"c"`, "at the end"}},
		"all are others":                {had: "a", list: "x", says: []string{`"a"`, `"x"`, "place 1"}},
		"a new one in between":          {had: "a b", list: "a x b", says: []string{`"x" is new`, `before "b"`, "at the end"}},
		"another order":                 {had: "a b c", list: "b a c", says: []string{`"a"`, `"b"`, "another order", "a, b, c"}},
		"an unknown one has failed":     {had: "a", failed: "x", list: "a b", says: []string{`"x"`, "failed", "place 2", keys.Migration("x")}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, b := openBucket(t)
			var before, c2 calls
			_, err := runner(b, 0).Run(ctx, before.steps(strings.Fields(c.had)...))
			ok(t, err)
			if c.failed != "" {
				steps := append(before.steps(strings.Fields(c.had)...), migration.Step{Name: c.failed, Up: func(context.Context) error { return errors.New("no") }})
				if _, err := runner(b, 0).Run(ctx, steps); err == nil {
					t.Fatal("it did not fail")
				}
			}
			applied, err := runner(b, 0).Run(ctx, c2.steps(strings.Fields(c.list)...))
			if got := strings.Join(applied, " "); got != c.does {
				t.Errorf("it does %q, want %q", got, c.does)
			}
			if (err != nil) != (c.says != nil) || err != nil && !errors.Is(err, errs.ErrSchema) {
				t.Fatalf("it says %v", err)
			}
			for _, part := range c.says {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("%q lacks %q", err, part)
				}
			}
			if c.says != nil && len(c2.of) > 0 {
				t.Errorf("it has called %v", c2.of)
			}
		})
	}
}

// What cannot be read is refused: as corrupt, or as of a newer natsorm.
func TestUnreadable(t *testing.T) {
	t.Parallel()
	const whole = `{"format":1,"name":"a","position":1,"state":"done","runner":"R","started":"2024-05-01T00:00:00Z"}`
	for name, c := range map[string]struct {
		key, value string
		want       error
	}{
		"no JSON":            {keys.Migration("a"), "{", errs.ErrCorrupt},
		"another type":       {keys.Migration("a"), strings.Replace(whole, `"position":1`, `"position":"x"`, 1), errs.ErrCorrupt},
		"no format":          {keys.Migration("a"), strings.Replace(whole, `"format":1,`, "", 1), errs.ErrCorrupt},
		"another name":       {keys.Migration("x"), whole, errs.ErrCorrupt},
		"an unknown state":   {keys.Migration("a"), strings.Replace(whole, "done", "perhaps", 1), errs.ErrCorrupt},
		"no position":        {keys.Migration("a"), strings.Replace(whole, `"position":1,`, "", 1), errs.ErrCorrupt},
		"a newer format":     {keys.Migration("a"), `{"format":2,"name":{}}`, errs.ErrSchema},
		"a lease, no JSON":   {keys.MigrationLease, "x", errs.ErrCorrupt},
		"a lease for ever":   {keys.MigrationLease, `{"format":1,"runner":"R","lapse":99999999999}`, errs.ErrCorrupt},
		"a lease of nobody":  {keys.MigrationLease, `{"format":1,"lapse":1000}`, errs.ErrCorrupt},
		"a lease of a newer": {keys.MigrationLease, `{"format":2}`, errs.ErrSchema},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, b := openBucket(t)
			ok(t, b.Write(ctx, store.Op{Key: c.key, Value: []byte(c.value)})[0].Err)
			var called calls
			_, err := runner(b, 0).Run(ctx, called.steps("a", "b"))
			if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.key) || len(called.of) > 0 {
				t.Errorf("%v, %v", err, called.of)
			}
		})
	}
}

// The bytes of the format: docs/format.md describes them.
func TestGoldenMigrations(t *testing.T) {
	t.Parallel()
	ctx, b := openBucket(t)
	golden := func(key, want string) {
		t.Helper()
		m, err := b.GetLatest(ctx, key)
		ok(t, err)
		if got := string(m.Value); !matches(want, got) {
			t.Errorf("%s holds %s, want %s", key, got, want)
		}
	}
	_, err := runner(b, 0).Run(ctx, []migration.Step{
		{Name: "a", Up: func(context.Context) error {
			golden("_lease.migration", `{"format":1,"runner":"*","lapse":15000}`)
			golden("_migration.a", `{"format":1,"name":"a","position":1,"state":"running","runner":"*","started":"*Z","tries":1}`)
			time.Sleep(2 * time.Millisecond) // so that there is a time to be recorded
			return nil
		}},
		{Name: "b", Up: func(context.Context) error {
			time.Sleep(2 * time.Millisecond)
			return errors.New("no <b>")
		}},
	})
	if err == nil {
		t.Error("b did not fail")
	}
	golden("_migration.a", `{"format":1,"name":"a","position":1,"state":"done","runner":"*","started":"*Z","took":*,"tries":1}`)
	golden("_migration.b", `{"format":1,"name":"b","position":2,"state":"failed","runner":"*","started":"*Z","took":*,"error":"no \u003cb\u003e","tries":1}`)
}

// matches reports whether a text has the parts of a pattern between its asterisks.
func matches(pattern, text string) bool {
	parts := strings.Split(pattern, "*")
	for i, part := range parts {
		at := strings.Index(text, part)
		if at < 0 || i == 0 && at > 0 {
			return false
		}
		text = text[at+len(part):]
	}
	return text == ""
}

// Records of a backup are added to those of a bucket that has had the same.
func TestMergeable(t *testing.T) {
	t.Parallel()
	records := func(names string) (out []migration.Record) {
		for i, name := range strings.Fields(names) {
			r := migration.Record{Name: strings.TrimSuffix(name, "!"), Position: i + 1, State: migration.Done}
			if strings.HasSuffix(name, "!") {
				r.State = migration.Failed
			}
			out = append(out, r)
		}
		return out
	}
	for _, c := range []struct {
		bucket, file string
		bare, want   bool
	}{
		{"", "", false, true},
		{"a b", "a b", false, true},
		{"a b!", "a", false, true},
		{"a", "a b!", false, true},
		{"a b", "a", false, false},
		{"a", "a b", false, false},
		{"a b", "b a", false, false},
		{"", "a", false, false},
		{"a", "", false, false},
		{"a", "a b", true, true},
		{"", "a", true, true},
		{"a b", "a", true, false},
		{"x", "a b", true, false},
	} {
		if err := migration.Mergeable(records(c.bucket), records(c.file), c.bare); (err == nil) != c.want || err != nil && !errors.Is(err, errs.ErrSchema) {
			t.Errorf("[%s] and [%s], bare %t: %v", c.bucket, c.file, c.bare, err)
		}
	}
}
