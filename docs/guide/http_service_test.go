package guide_test

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/natsorm/natsorm"
	"github.com/natsorm/natsorm/natsormtest"
)

func fail(w http.ResponseWriter, err error) {
	status := http.StatusInternalServerError
	switch {
	case errors.Is(err, natsorm.ErrConflict): // before ErrNotFound: a record that is gone matches both
		status = http.StatusPreconditionFailed // If-Match did not match
	case errors.Is(err, natsorm.ErrNotFound):
		status = http.StatusNotFound
	case errors.Is(err, natsorm.ErrExists), errors.Is(err, natsorm.ErrUnique):
		status = http.StatusConflict
	case errors.Is(err, natsorm.ErrInvalid): // ErrCursor is one of them
		status = http.StatusBadRequest
	case natsorm.SafeToRetry(err):
		status = http.StatusServiceUnavailable
	}
	text := http.StatusText(status)
	if status == http.StatusBadRequest {
		text = err.Error()
	} else {
		slog.Warn("a request failed", "status", status, "error", err)
	}
	http.Error(w, text, status)
}

func (s *service) list(w http.ResponseWriter, r *http.Request) {
	params := r.URL.Query()
	order := cmp.Or(params.Get("order"), "id")
	if !slices.Contains([]string{"id", "-id", "stars", "-stars", "slug", "-slug"}, order) {
		http.Error(w, "order: give id, stars or slug, with - before it to descend", http.StatusBadRequest)
		return
	}
	q := []natsorm.Query{natsorm.OrderBy(order), natsorm.After(params.Get("after"))}
	if text := params.Get("where"); text != "" {
		where, err := natsorm.ParseWhere([]byte(text))
		if err != nil {
			fail(w, err)
			return
		}
		q = append(q, where)
	}
	limit, err := strconv.Atoi(cmp.Or(params.Get("limit"), "20"))
	if err != nil || limit < 1 || limit > 100 {
		http.Error(w, "limit: give a number from 1 to 100", http.StatusBadRequest)
		return
	}
	page, next, err := s.articles.FindPage(r.Context(), append(q, natsorm.Limit(limit))...)
	if err != nil {
		fail(w, err)
		return
	}
	write(w, http.StatusOK, map[string]any{"articles": page, "next": next})
}

func (s *service) get(w http.ResponseWriter, r *http.Request) {
	article, err := s.articles.FindByPK(r.Context(), r.PathValue("id"))
	if err != nil {
		fail(w, err)
		return
	}
	tag := etag(article.Version)
	w.Header().Set("ETag", tag)
	if r.Header.Get("If-None-Match") == tag {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	write(w, http.StatusOK, article)
}

func etag(version uint64) string { return fmt.Sprintf(`"%d"`, version) }

// ifMatch is the condition that a client has sent: none, or the revision that it knows.
func ifMatch(r *http.Request) ([]natsorm.WriteOption, error) {
	text := r.Header.Get("If-Match")
	if text == "" || text == "*" {
		return nil, nil
	}
	version, err := strconv.ParseUint(strings.Trim(text, `"`), 10, 64)
	if err != nil {
		return nil, fmt.Errorf("%w: If-Match is no ETag of this service", natsorm.ErrInvalid)
	}
	return []natsorm.WriteOption{natsorm.IfRevision(version)}, nil
}

func (s *service) create(w http.ResponseWriter, r *http.Request) {
	var article Article
	if err := read(r, &article); err != nil {
		fail(w, err)
		return
	}
	if err := s.articles.Create(r.Context(), &article); err != nil {
		fail(w, err)
		return
	}
	w.Header().Set("ETag", etag(article.Version))
	w.Header().Set("Location", "/articles/"+article.ID)
	write(w, http.StatusCreated, article)
}

func (s *service) replace(w http.ResponseWriter, r *http.Request) {
	options, err := ifMatch(r)
	if err != nil {
		fail(w, err)
		return
	}
	article, err := s.articles.FindByPK(r.Context(), r.PathValue("id"))
	if err != nil {
		fail(w, absent(r, err))
		return
	}
	id := article.ID
	if err := read(r, article); err != nil { // over what is there: what JSON does not show stays
		fail(w, err)
		return
	}
	article.ID = id
	if err := s.articles.Save(r.Context(), article, options...); err != nil {
		fail(w, err)
		return
	}
	w.Header().Set("ETag", etag(article.Version))
	write(w, http.StatusOK, article)
}

func (s *service) remove(w http.ResponseWriter, r *http.Request) {
	q := []natsorm.Query{natsorm.Eq("id", r.PathValue("id"))}
	options, err := ifMatch(r)
	for _, option := range options {
		q = append(q, option)
	}
	n := 0
	if err == nil {
		n, err = s.articles.Destroy(r.Context(), q...)
	}
	if err == nil && n == 0 {
		err = absent(r, natsorm.ErrNotFound)
	}
	if err != nil {
		fail(w, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// absent is the error for a record that is not there: whatever If-Match says, it does not match.
func absent(r *http.Request, err error) error {
	if r.Header.Get("If-Match") != "" && errors.Is(err, natsorm.ErrNotFound) {
		return fmt.Errorf("%w: %w", natsorm.ErrConflict, err)
	}
	return err
}

type Article struct {
	ID      string `json:"id"      orm:"primaryKey,auto"`
	Slug    string `json:"slug"    orm:"unique"`
	Tag     string `json:"tag"     orm:"index"`
	Stars   int    `json:"stars"`
	Notes   string `json:"-"       orm:"column:notes,hidden"`
	Version uint64 `json:"version" orm:"version"`
}

type service struct{ articles *natsorm.Model[Article] }

func (s *service) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /articles", s.list)
	mux.HandleFunc("POST /articles", s.create)
	mux.HandleFunc("GET /articles/{id}", s.get)
	mux.HandleFunc("PUT /articles/{id}", s.replace)
	mux.HandleFunc("DELETE /articles/{id}", s.remove)
	return http.TimeoutHandler(mux, 10*time.Second, "it takes too long")
}

// read reads a body of a megabyte at most.
func read(r *http.Request, into any) error {
	body := json.NewDecoder(http.MaxBytesReader(nil, r.Body, 1<<20))
	body.DisallowUnknownFields()
	if err := body.Decode(into); err != nil {
		return fmt.Errorf("%w: %w", natsorm.ErrInvalid, err)
	}
	if _, err := body.Token(); err != io.EOF {
		return fmt.Errorf("%w: something follows the JSON", natsorm.ErrInvalid)
	}
	return nil
}

func write(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // the client has gone
}

func TestHTTPService(t *testing.T) {
	t.Parallel()
	articles, err := natsorm.Define[Article](t.Context(), natsormtest.New(t))
	check(t, err)
	srv := httptest.NewServer((&service{articles}).routes())
	defer srv.Close()
	call := func(method, path, body string, want int, headers ...string) (*http.Response, string) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, srv.URL+path, strings.NewReader(body))
		check(t, err)
		for i := 0; i < len(headers); i += 2 {
			req.Header.Set(headers[i], headers[i+1])
		}
		res, err := srv.Client().Do(req)
		check(t, err)
		defer res.Body.Close()
		text, err := io.ReadAll(res.Body)
		check(t, err)
		if res.StatusCode != want {
			t.Fatalf("%s %s is %s, want %d: %s", method, path, res.Status, want, text)
		}
		return res, string(text)
	}

	made, _ := call("POST", "/articles", `{"slug": "first", "tag": "go", "stars": 5}`, http.StatusCreated)
	at, tag := made.Header.Get("Location"), made.Header.Get("ETag")
	call("POST", "/articles", `{"slug": "first"}`, http.StatusConflict)
	call("POST", "/articles", `{"slug": 5}`, http.StatusBadRequest)
	call("POST", "/articles", `{"title": "?"}`, http.StatusBadRequest)
	got, _ := call("GET", at, "", http.StatusOK)
	if got.Header.Get("ETag") != tag {
		t.Errorf("%s was created, and %s is read", tag, got.Header.Get("ETag"))
	}
	call("GET", at, "", http.StatusNotModified, "If-None-Match", tag)
	call("GET", "/articles/none", "", http.StatusNotFound)

	id := strings.TrimPrefix(at, "/articles/")
	_, err = articles.Update(t.Context(), natsorm.Set{"notes": "of the editor"}, natsorm.Eq("id", id))
	check(t, err)
	got, _ = call("GET", at, "", http.StatusOK)
	tag = got.Header.Get("ETag")
	put, _ := call("PUT", at, `{"slug": "first", "tag": "go", "stars": 4}`, http.StatusOK, "If-Match", tag)
	call("PUT", at, `{"slug": "first", "stars": 3}`, http.StatusPreconditionFailed, "If-Match", tag)
	call("PUT", at, `{"slug": "first", "stars": 3, "version": `+strings.Trim(tag, `"`)+`}`, http.StatusPreconditionFailed)
	call("PUT", at, `{"slug": "first"}`, http.StatusBadRequest, "If-Match", "W/x")
	call("DELETE", at, "", http.StatusPreconditionFailed, "If-Match", tag)
	for _, method := range []string{"PUT", "DELETE"} {
		call(method, "/articles/none", "{}", http.StatusNotFound)
		for _, match := range []string{"*", `"5"`} {
			call(method, "/articles/none", "{}", http.StatusPreconditionFailed, "If-Match", match)
		}
	}
	stored, err := articles.FindByPK(t.Context(), id)
	check(t, err)
	if stored.Notes != "of the editor" || stored.Stars != 4 {
		t.Errorf("after PUT there is %+v", stored)
	}

	for i := range 30 {
		call("POST", "/articles", fmt.Sprintf(`{"slug": "s%d", "tag": "many", "stars": %d}`, i, i%7), http.StatusCreated)
	}
	seen, after := 0, ""
	for pages := 0; ; pages++ {
		_, text := call("GET", "/articles?limit=8&order=-stars&where="+url.QueryEscape(`{"tag": "many", "stars": {"gte": 1}}`)+"&after="+after, "", http.StatusOK)
		var page struct {
			Articles []Article
			Next     string
		}
		check(t, json.Unmarshal([]byte(text), &page))
		seen += len(page.Articles)
		if after = page.Next; after == "" {
			break
		}
		if pages > 5 {
			t.Fatal("too many pages")
		}
	}
	if seen != 25 {
		t.Errorf("%d articles on the pages, want 25", seen)
	}
	for _, bad := range []string{`?where={"stars":"many"}`, `?where={"notes":{"startsWith":"a"}}`, `?where={`, "?order=nothing", "?order=notes", "?order=-notes", "?after=x", "?limit=1000"} {
		call("GET", "/articles"+bad, "", http.StatusBadRequest)
	}
	call("DELETE", at, "", http.StatusNoContent, "If-Match", put.Header.Get("ETag"))
	call("DELETE", at, "", http.StatusNotFound)
}
