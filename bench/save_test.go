package bench

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/natsorm/natsorm"
)

// article is a record of about 1 kB with three indexes, as applications have them.
type article struct {
	ID        int64     `json:"id" orm:"primaryKey"`
	Slug      string    `json:"slug" orm:"unique"`
	Author    string    `json:"author" orm:"index"`
	State     string    `json:"state" orm:"index"`
	Title     string    `json:"title"`
	Summary   string    `json:"summary"`
	Body      string    `json:"body"`
	Language  string    `json:"language"`
	Tags      []string  `json:"tags"`
	Words     int       `json:"words"`
	Views     int       `json:"views"`
	Likes     int       `json:"likes"`
	Rating    float64   `json:"rating"`
	Featured  bool      `json:"featured"`
	Published time.Time `json:"published"`
	Created   time.Time `json:"created" orm:"createdAt"`
	Updated   time.Time `json:"updated" orm:"updatedAt"`
	Version   uint64    `json:"-" orm:"version"`
}

func sampleArticle(i int) *article {
	n := strconv.Itoa(i)
	return &article{
		ID: int64(i), Slug: "article-" + n, Author: "author" + strconv.Itoa(i%100), State: "draft", Title: "About " + n,
		Summary: strings.Repeat("summary ", 10), Body: strings.Repeat("some words of the body ", 25), Language: "en",
		Tags: []string{"one", "two", "three"}, Words: 125, Rating: 4.5, Published: time.Unix(1_700_000_000, 0).UTC(),
	}
}

// BenchmarkSave compares Save of a record with a version, a read and a checked write,
// with kv.Get and kv.Update of the same document.
func BenchmarkSave(b *testing.B) {
	changes(b, func(ctx context.Context, articles *natsorm.Model[article], a *article) error {
		a.Views++
		return articles.Save(ctx, a)
	})
}

// BenchmarkUpdate compares Update of one column by primary key with the same two calls.
func BenchmarkUpdate(b *testing.B) {
	changes(b, func(ctx context.Context, articles *natsorm.Model[article], a *article) error {
		a.Views++
		_, err := articles.Update(ctx, natsorm.Set{"views": a.Views}, natsorm.Eq("id", a.ID))
		return err
	})
}

// BenchmarkUpdateIndexed is BenchmarkUpdate of a column with an index: an entry is put, and
// one is deleted.
func BenchmarkUpdateIndexed(b *testing.B) {
	changes(b, func(ctx context.Context, articles *natsorm.Model[article], a *article) error {
		a.Views++
		_, err := articles.Update(ctx, natsorm.Set{"state": strconv.Itoa(a.Views % 10)}, natsorm.Eq("id", a.ID))
		return err
	})
}

// changes compares changes of records, by one client and by 64, each of a record of its
// own, with kv.Get and kv.Update.
func changes(b *testing.B, change func(context.Context, *natsorm.Model[article], *article) error) {
	each(b, func(b *testing.B, db *natsorm.DB, kv jetstream.KeyValue) {
		ctx := context.Background()
		articles, err := natsorm.Define[article](ctx, db)
		check(b, err)
		const most = 64
		records := make([]*article, most)
		for i := range records {
			records[i] = sampleArticle(i)
			check(b, articles.Create(ctx, records[i]))
			e, err := kv.Get(ctx, fmt.Sprintf("article.shard_%d.%d", i%16, i))
			check(b, err)
			_, err = kv.Put(ctx, "raw."+strconv.Itoa(i), e.Value())
			check(b, err)
		}
		raw := func(i int) {
			key := "raw." + strconv.Itoa(i)
			e, err := kv.Get(ctx, key)
			if err == nil {
				_, err = kv.Update(ctx, key, e.Value(), e.Revision())
			}
			if err != nil {
				b.Error(err)
			}
		}
		ours := func(i int) {
			if err := change(ctx, articles, records[i]); err != nil {
				b.Error(err)
			}
		}
		for _, clients := range []int{1, most} {
			b.Run(fmt.Sprint(clients), func(b *testing.B) {
				var rawTime, ourTime time.Duration
				total := 0
				const turn = 64
				for b.Loop() {
					rawTime += numbered(clients, turn, raw)
					ourTime += numbered(clients, turn, ours)
					total += clients * turn
				}
				report(b, rawTime, ourTime, total)
			})
		}
	}, "memory", "file")
}

// numbered is parallel for an op that is told the number of its client.
func numbered(clients, times int, op func(client int)) time.Duration {
	next := make(chan int, clients)
	for i := range clients {
		next <- i
	}
	return parallel(clients, 1, func() {
		client := <-next
		for range times {
			op(client)
		}
	})
}
