package natsorm

import (
	"reflect"

	"github.com/natsorm/natsorm/internal/cond"
	"github.com/natsorm/natsorm/internal/schema"
)

// TypedColumn is a column whose name and type the compiler knows. Its methods make the
// conditions that the functions of the same names make.
type TypedColumn[V any] struct {
	name string
	err  error // returned by the call that runs a condition on it
}

// Column returns the column of the field that the function points to:
//
//	age := natsorm.Column(func(u *User) *int { return &u.Age })
//	users.FindAll(ctx, age.Gte(30))
//
// Of a field that is a pointer, the function may return that pointer: then the conditions
// take values of the type that it points to.
//
// If the function points to something else than a field of its argument that is a
// column, a call with a condition on it returns ErrSchema.
func Column[T, V any](field func(*T) *V) TypedColumn[V] {
	var point func(record any) any
	if field != nil {
		point = func(record any) any { return field(record.(*T)) }
	}
	name, err := schema.ColumnOf(reflect.TypeFor[T](), point)
	return TypedColumn[V]{name: name, err: err}
}

// Name is the column's name. It is empty when Column found no column.
func (c TypedColumn[V]) Name() string { return c.name }

func (c TypedColumn[V]) compare(op cond.Op, values ...V) Condition {
	if c.err != nil {
		return badCondition{c.err}
	}
	list := make([]any, len(values))
	for i, v := range values {
		list[i] = v
	}
	return compare(op, c.name, list...)
}

// Eq is the condition [Eq] on this column.
func (c TypedColumn[V]) Eq(value V) Condition { return c.compare(cond.Eq, value) }

// Ne is the condition [Ne] on this column.
func (c TypedColumn[V]) Ne(value V) Condition { return c.compare(cond.Ne, value) }

// Gt is the condition [Gt] on this column.
func (c TypedColumn[V]) Gt(value V) Condition { return c.compare(cond.Gt, value) }

// Gte is the condition [Gte] on this column.
func (c TypedColumn[V]) Gte(value V) Condition { return c.compare(cond.Gte, value) }

// Lt is the condition [Lt] on this column.
func (c TypedColumn[V]) Lt(value V) Condition { return c.compare(cond.Lt, value) }

// Lte is the condition [Lte] on this column.
func (c TypedColumn[V]) Lte(value V) Condition { return c.compare(cond.Lte, value) }

// Between is the condition [Between] on this column.
func (c TypedColumn[V]) Between(lo, hi V) Condition { return c.compare(cond.Between, lo, hi) }

// In is the condition [In] on this column.
func (c TypedColumn[V]) In(values ...V) Condition { return c.compare(cond.In, values...) }

// NotIn is the condition [NotIn] on this column.
func (c TypedColumn[V]) NotIn(values ...V) Condition { return c.compare(cond.NotIn, values...) }

// IsNull is the condition [IsNull] on this column.
func (c TypedColumn[V]) IsNull() Condition { return c.compare(cond.IsNull) }

// NotNull is the condition [NotNull] on this column.
func (c TypedColumn[V]) NotNull() Condition { return c.compare(cond.NotNull) }

// Like is the condition [Like] on this column.
func (c TypedColumn[V]) Like(pattern V) Condition { return c.compare(cond.Like, pattern) }

// ILike is the condition [ILike] on this column.
func (c TypedColumn[V]) ILike(pattern V) Condition { return c.compare(cond.ILike, pattern) }

// StartsWith is the condition [StartsWith] on this column.
func (c TypedColumn[V]) StartsWith(prefix V) Condition { return c.compare(cond.StartsWith, prefix) }

// EndsWith is the condition [EndsWith] on this column.
func (c TypedColumn[V]) EndsWith(suffix V) Condition { return c.compare(cond.EndsWith, suffix) }

// Contains is the condition [Contains] on this column.
func (c TypedColumn[V]) Contains(part V) Condition { return c.compare(cond.Contains, part) }

// Asc is OrderBy with this column.
func (c TypedColumn[V]) Asc() Query { return c.order("") }

// Desc is OrderBy with this column, descending.
func (c TypedColumn[V]) Desc() Query { return c.order("-") }

func (c TypedColumn[V]) order(sign string) Query {
	if c.err != nil {
		return badCondition{c.err}
	}
	return OrderBy(sign + c.name)
}

// ElementColumn is a column of lists whose name and type of elements the compiler knows. Its methods
// make the conditions that the functions of the same names make.
type ElementColumn[E any] struct{ of TypedColumn[E] }

// Elements returns the column of the field that the function points to, which is a slice:
//
//	tags := natsorm.Elements(func(a *Article) *[]string { return &a.Tags })
//	articles.FindAll(ctx, tags.ContainsAny("go", "nats"))
//
// For conditions on the list as a whole, such as IsNull, use [Column]. If the function points to
// something else than a field of its argument that is a column, a call with a condition on it returns
// ErrSchema; ErrInvalid where elements of the type cannot be looked for: see [Contains].
func Elements[T any, L ~[]E, E any](field func(*T) *L) ElementColumn[E] {
	return ElementColumn[E]{TypedColumn[E](Column(field))}
}

// Name is the column's name. It is empty when Elements found no column.
func (c ElementColumn[E]) Name() string { return c.of.name }

// Contains is the condition [Contains] on this column.
func (c ElementColumn[E]) Contains(value E) Condition { return c.of.compare(cond.Contains, value) }

// ContainsAny is the condition [ContainsAny] on this column.
func (c ElementColumn[E]) ContainsAny(values ...E) Condition {
	return c.of.compare(cond.ContainsAny, values...)
}

// ContainsAll is the condition [ContainsAll] on this column.
func (c ElementColumn[E]) ContainsAll(values ...E) Condition {
	return c.of.compare(cond.ContainsAll, values...)
}
