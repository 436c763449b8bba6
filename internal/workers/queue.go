package workers

import "context"

// Queue sends to out what next returns, until ctx ends or next fails, and returns the error of next. It
// reads ahead of who reads out: until most values wait, or values of as many bytes, as next
// says. What waits when next fails is sent; when ctx ends, it is dropped.
func Queue[V any](ctx context.Context, out chan<- V, most, bytes int, next func(context.Context) (v V, size int, err error)) error {
	type read struct {
		v    V
		size int
	}
	in, ended := make(chan read), make(chan error, 1)
	go func() {
		defer close(in)
		for {
			v, size, err := next(ctx)
			if err != nil {
				ended <- err
				return
			}
			select {
			case in <- read{v, size}:
			case <-ctx.Done():
				ended <- ctx.Err()
				return
			}
		}
	}()
	var waiting []read
	var none V
	for held, open := 0, true; open || len(waiting) > 0; {
		from, to, first := in, chan<- V(nil), none
		if !open || len(waiting) >= most || held >= bytes {
			from = nil
		}
		if len(waiting) > 0 {
			to, first = out, waiting[0].v
		}
		select {
		case r, more := <-from:
			if open = more; more {
				waiting, held = append(waiting, r), held+r.size
			}
		case to <- first:
			held -= waiting[0].size
			waiting[0] = read{} // or the array would hold it
			waiting = waiting[1:]
		case <-ctx.Done():
			for range in { // until it has ended, so that what next uses can be closed
			}
			return <-ended
		}
	}
	return <-ended
}
