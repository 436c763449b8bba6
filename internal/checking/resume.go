package checking

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/schema"
	"github.com/natsorm/natsorm/internal/store"
)

// Place is where a check was cut short: whatever comes before it has been reported. It says
// of which model that is, and of what of that model nothing may have changed.
type Place struct {
	Model  string `json:"model"`
	Layout string `json:"layout"`
	Shards int    `json:"shards"`
	Born   uint64 `json:"born,omitempty"`
	Pass   pass   `json:"pass,omitempty"` // 0: the model was not begun
	At     uint64 `json:"at,omitempty"`   // the revision to which the pass has come
}

func placeIn(def *schema.Definition) *Place {
	return &Place{Model: def.Name, Layout: def.Layout, Shards: def.Shards, Born: def.Born}
}

// before reports whether the place is before a pass.
func (p *Place) before(q pass) bool { return p.Pass < q }

// passed reports whether a message of a pass, at a revision, comes before the place.
func (p *Place) passed(q pass, at uint64) bool { return q < p.Pass || q == p.Pass && at <= p.At }

// rest is the models that a check which begins at the place has to do. ErrInvalid when the
// place is not in them.
func (p *Place) rest(defs []*schema.Definition) ([]*schema.Definition, error) {
	i := slices.IndexFunc(defs, func(d *schema.Definition) bool { return d.Name == p.Model })
	if i < 0 {
		return nil, fmt.Errorf("%w: the check cannot go on in %s, which the catalogue does not have any more; begin a new one", errs.ErrInvalid, p.Model)
	}
	if *placeIn(defs[i]) != (Place{Model: p.Model, Layout: p.Layout, Shards: p.Shards, Born: p.Born}) {
		return nil, fmt.Errorf("%w: the check cannot go on in %s, which has another layout now, or was dropped and defined again; begin a new one", errs.ErrInvalid, p.Model)
	}
	return defs[i:], nil
}

// CheckBucket is CheckAll from the place of a token, if there is one, and with the place as a token.
// bucket tells the bucket from others, and from one that had its name before. ErrInvalid for a
// token that is not one of it, and for less than one example.
func CheckBucket(ctx context.Context, s store.Store, bucket string, token *string, o Options) (found []Report, resume string, err error) {
	if o.Examples < 0 {
		return nil, "", fmt.Errorf("%w: CheckExamples of no, or fewer, problems; keep at least 1 of each kind", errs.ErrInvalid)
	}
	if token != nil {
		if o.From, err = ParsePlace(*token, bucket); err != nil {
			return nil, "", err
		}
	}
	found, at, err := CheckAll(ctx, s, o)
	if at != nil {
		resume = at.Token(bucket)
	}
	return found, resume, err
}

// tokenVersion is that of the tokens' format.
const tokenVersion = 1

type token struct {
	Version int    `json:"v"`
	Bucket  string `json:"bucket"`
	Place
}

// Token is the place as text. bucket tells the bucket from others, and from one that had its
// name before.
func (p *Place) Token(bucket string) string {
	raw, _ := json.Marshal(&token{tokenVersion, bucket, *p}) // strings and numbers
	sum := sha256.Sum256(raw)
	return base64.RawURLEncoding.EncodeToString(append(sum[:8], raw...))
}

// ParsePlace reads a Token of the bucket. ErrInvalid when it is not one.
func ParsePlace(text, bucket string) (*Place, error) {
	raw, err := base64.RawURLEncoding.DecodeString(text)
	var t token
	switch {
	case err != nil || len(raw) < 8:
		return nil, notAToken("it was cut off or altered")
	case [8]byte(sum(raw[8:])) != [8]byte(raw):
		return nil, notAToken("it was cut off or altered")
	}
	if err := json.Unmarshal(raw[8:], &t); err != nil || t.Version != tokenVersion {
		return nil, notAToken("it is of another version of natsorm")
	}
	if t.Bucket != bucket {
		return nil, notAToken("it is of another bucket, or of one that had this name before")
	}
	return &t.Place, nil
}

func sum(raw []byte) []byte {
	s := sha256.Sum256(raw)
	return s[:8]
}

func notAToken(why string) error {
	return fmt.Errorf("%w: the check cannot go on from this Resume: %s; begin a new one", errs.ErrInvalid, why)
}
