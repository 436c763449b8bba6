package natsorm_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/natsorm/natsorm"
	"github.com/natsorm/natsorm/embedded"
	"github.com/natsorm/natsorm/internal/testbed"
	"github.com/natsorm/natsorm/natsormtest"
)

// What programs that died have left is taken when Sweep is called, and in the background where
// that was asked for; there the Logger is told, a counter counts, and Close ends it.
func TestSweep(t *testing.T) {
	t.Parallel()
	ctx := within(t)
	srv := serve(t, embedded.Config{})
	log := &lines{}
	db := natsormtest.Open(t, srv, "test")
	users := define[user](t, db)
	ok(t, users.Create(ctx, &user{ID: 1, Name: "Ann", Email: "a@x"}))
	spoil := func() {
		t.Helper()
		for key, text := range map[string]string{"user.index.name.Eve.1": "", "user.unique.email.e_x": "77", "user.index.email.a_x.1": ""} {
			must[uint64](t)(db.KV().PutString(ctx, key, text))
		}
	}
	spoil()
	want := natsorm.Swept{Entries: 1, Claims: 1, Leftovers: 1}
	if swept := must[natsorm.Swept](t)(db.Sweep(ctx)); swept != want || db.Swept() != (natsorm.Swept{}) {
		t.Errorf("taken: %+v, and in the background %+v", swept, db.Swept())
	}
	spoil()
	beside, err := srv.Open(ctx, natsorm.Config{Bucket: "test", SweepEvery: 50 * time.Millisecond, Logger: slog.New(slog.NewTextHandler(log, nil))})
	ok(t, err)
	ok(t, testbed.Until(ctx, func(context.Context) error {
		if swept := beside.Swept(); swept != want {
			return errors.New("not swept yet")
		}
		return nil
	}))
	ok(t, testbed.Until(ctx, func(context.Context) error {
		if log.count("leftovers=1") == 0 {
			return errors.New("the Logger was not told")
		}
		return nil
	}))
	began := time.Now()
	ok(t, beside.Close())
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("Close took %v", took)
	}
	if n := log.count("WARN"); n > 0 {
		t.Errorf("the Logger was warned %d times", n)
	}
	if _, err := srv.Open(ctx, natsorm.Config{Bucket: "test", SweepEvery: -1}); !errors.Is(err, natsorm.ErrInvalid) {
		t.Errorf("a negative SweepEvery: %v", err)
	}
}

// A check that was cut short, or whose options are wrong, says so.
func TestCheckOptions(t *testing.T) {
	t.Parallel()
	ctx := within(t)
	db := natsormtest.New(t)
	users := define[user](t, db)
	ok(t, users.Create(ctx, &user{ID: 1, Name: "Ann", Email: "a@x"}))
	for i := range 30 {
		must[uint64](t)(db.KV().Put(ctx, "user.shard_0.broken"+string(rune('a'+i%26))+string(rune('a'+i/26)), []byte("{")))
	}
	for _, n := range []int{0, -3} {
		if _, err := db.Check(ctx, natsorm.CheckExamples(n)); !errors.Is(err, natsorm.ErrInvalid) || !strings.Contains(err.Error(), "CheckExamples") {
			t.Errorf("%d examples: %v", n, err)
		}
	}
	told, steps := 0, 0
	report := must[natsorm.Report](t)(db.Check(ctx, natsorm.CheckExamples(4), nil,
		natsorm.EachProblem(func(model string, p natsorm.Problem) {
			if told++; model != "user" || p.Kind != natsorm.CorruptRecord {
				t.Errorf("%s: %v", model, p)
			}
		}),
		natsorm.CheckProgress(func(model, what string, done, total int) { steps++ })))
	m := report.Models[0]
	if len(m.Problems) != 4 || m.Counts[natsorm.CorruptRecord] != (natsorm.ProblemCount{Found: 30}) || told != 30 || steps == 0 || report.Clean() || report.Resume != "" {
		t.Errorf("told %d, %d steps:\n%s", told, steps, report)
	}
	if text := report.String(); !strings.Contains(text, "30 problems") || !strings.Contains(text, "and 26 more") {
		t.Errorf("the text is\n%s", text)
	}
	must[natsorm.Report](t)(db.Check(ctx, natsorm.EachProblem(nil), natsorm.CheckProgress(nil)))

	short, cancel := context.WithCancel(ctx)
	cut, err := db.Check(short, natsorm.CheckProgress(func(_, what string, _, _ int) { cancel() }))
	if !errors.Is(err, context.Canceled) || cut.Resume == "" || cut.Clean() || !strings.Contains(cut.String(), "cut short") {
		t.Errorf("cut short: %v\n%s", err, cut)
	}
	rest := must[natsorm.Report](t)(db.Check(ctx, natsorm.CheckFrom(cut.Resume)))
	if rest.Models[0].Records != 31 || rest.Resume != "" {
		t.Errorf("the rest:\n%s", rest)
	}
	for _, resume := range []string{"", "nothing", cut.Resume[:9] + cut.Resume[10:]} {
		if _, err := db.Check(ctx, natsorm.CheckFrom(resume)); !errors.Is(err, natsorm.ErrInvalid) {
			t.Errorf("from %q: %v", resume, err)
		}
	}
	other := natsormtest.New(t)
	define[user](t, other)
	if _, err := other.Check(ctx, natsorm.CheckFrom(cut.Resume)); !errors.Is(err, natsorm.ErrInvalid) || !strings.Contains(err.Error(), "another bucket") {
		t.Errorf("in another bucket: %v", err)
	}
	for i := range 30 {
		ok(t, db.KV().Delete(ctx, "user.shard_0.broken"+string(rune('a'+i%26))+string(rune('a'+i/26))))
	}
}
