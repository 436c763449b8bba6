package session

import (
	"crypto/rand"
	"strconv"
	"sync/atomic"
)

// IDs makes the ids of a session's messages and batches: a random text, and a number.
type IDs struct {
	prefix string
	n      atomic.Uint64
}

// NewIDs chooses the text.
func NewIDs() *IDs { return &IDs{prefix: rand.Text() + "."} }

// Next is an id that was not used before.
func (g *IDs) Next() string { return g.prefix + strconv.FormatUint(g.n.Add(1), 36) }
