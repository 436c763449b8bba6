package bucket

// ForgoDirect makes of s a store on a bucket without direct get.
func (b *Bucket) ForgoDirect() { b.direct = false }
