package checking

import (
	"hash/maphash"
)

// accounts is how many accounts a balance has: 2 MB of memory, and in a model of a
// million records with two indexes about 15 pointers in each.
const accounts = 1 << 17

// pointer says that an entry or a claim, at key, leads to a record.
type pointer struct{ key, record string }

// balance compares the pointers that records need with those that are found, in constant
// memory. All pointers of one key go to one account, which adds up random numbers of 128
// bits that are made of the pointers: those needed count up, those found down. An account
// that is 0 in the end had the same pointers on both sides, but for a chance of 1 in
// 2^128.
type balance struct {
	seeds    [3]maphash.Seed
	sums     [][2]uint64
	doubtful map[uint64]struct{} // accounts that do not balance, whatever their sums
}

func newBalance() *balance {
	b := &balance{sums: make([][2]uint64, accounts), doubtful: map[uint64]struct{}{}}
	for i := range b.seeds {
		b.seeds[i] = maphash.MakeSeed()
	}
	return b
}

// account is the number of a key's account.
func (b *balance) account(key string) uint64 { return maphash.String(b.seeds[2], key) % accounts }

func (b *balance) numbers(p pointer) (n [2]uint64) {
	for i := range n {
		n[i] = maphash.Comparable(b.seeds[i], p)
	}
	return n
}

func (b *balance) need(p pointer) {
	sum, n := &b.sums[b.account(p.key)], b.numbers(p)
	sum[0], sum[1] = sum[0]+n[0], sum[1]+n[1]
}

func (b *balance) find(p pointer) {
	sum, n := &b.sums[b.account(p.key)], b.numbers(p)
	sum[0], sum[1] = sum[0]-n[0], sum[1]-n[1]
}

// doubt opens the account of a key of which it is not known whether it was counted.
func (b *balance) doubt(key string) { b.doubtful[b.account(key)] = struct{}{} }

// open reports whether the account of a key does not balance.
func (b *balance) open(key string) bool {
	account := b.account(key)
	_, doubtful := b.doubtful[account]
	return doubtful || b.sums[account] != [2]uint64{}
}

// balanced reports whether all accounts do.
func (b *balance) balanced() bool {
	if len(b.doubtful) > 0 {
		return false
	}
	for _, sum := range b.sums {
		if sum != [2]uint64{} {
			return false
		}
	}
	return true
}
