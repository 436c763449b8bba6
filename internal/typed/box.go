package typed

// Box is v as codecs have values: a *T in an any, and nil when there is none.
func Box[T any](v *T) any {
	if v == nil {
		return nil
	}
	return v
}

// Unbox is the way back.
func Unbox[T any](v any) *T {
	p, _ := v.(*T)
	return p
}

// BoxAll and UnboxAll do it with many.
func BoxAll[T any](vs []*T) []any {
	out := make([]any, len(vs))
	for i, v := range vs {
		out[i] = Box(v)
	}
	return out
}

func UnboxAll[T any](vs []any) []*T {
	out := make([]*T, len(vs))
	for i, v := range vs {
		out[i] = Unbox[T](v)
	}
	return out
}
