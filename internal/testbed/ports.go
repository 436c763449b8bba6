package testbed

import (
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
)

// FreePorts returns n ports on which no program listens, for servers that must know their
// port before they start, or that come back to it after they were away. The ports are below
// those that systems give to outgoing connections and to listeners that take any: no other
// program gets one by chance while its server is away.
func FreePorts(n int) ([]int, error) {
	const lowest, highest = 20_000, 32_000
	given.Lock()
	defer given.Unlock()
	var ports []int
	for try := 0; len(ports) < n; try++ {
		port := lowest + rand.N(highest-lowest)
		if given.ports[port] {
			continue
		}
		l, err := net.Listen("tcp", fmt.Sprint("127.0.0.1:", port))
		if err != nil {
			if try > 1000 {
				return nil, err
			}
			continue
		}
		if err := l.Close(); err != nil {
			return nil, err
		}
		ports = append(ports, port)
		given.ports[port] = true
	}
	return ports, nil
}

// given holds the ports that FreePorts has returned in this process.
var given = struct {
	sync.Mutex
	ports map[int]bool
}{ports: map[int]bool{}}

// FreePort is one of FreePorts.
func FreePort(t testing.TB) int {
	t.Helper()
	ports, err := FreePorts(1)
	if err != nil {
		t.Fatal(err)
	}
	return ports[0]
}
