package store

// ForgoDirect makes of s a store on a bucket without direct get.
func (s *JetStream) ForgoDirect() { s.direct = false }
