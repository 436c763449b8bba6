package schema

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/value"
)

type base struct {
	ID int `json:"id" orm:"primaryKey,auto"`
}

type kindly struct{ text string }

func (k kindly) MarshalText() ([]byte, error)  { return []byte(k.text), nil }
func (k *kindly) UnmarshalText(b []byte) error { k.text = string(b); return nil }

type silent struct{}

func (silent) MarshalText() ([]byte, error) { return nil, nil }

// What the tags of a struct say.
func TestCompile(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		of   any
		want string
	}{
		{"names and types", struct {
			ID      uint64            `json:"id" orm:"primaryKey"`
			Flag    bool              `json:"flag,omitempty"`
			N       *int8             `json:"n"`
			F       float32           `json:",omitempty"`
			D       json.Number       `json:"d"`
			B       []byte            `json:"b"`
			At      time.Time         `json:"at"`
			Own     kindly            `json:"own"`
			Any     any               `json:"any"`
			M       map[string]string `json:"m"`
			Out     chan int          `json:"-" orm:"-"`
			private int
		}{}, "id:uint,pk,zero flag:bool,zero n:int F:float,zero d:decimal,zero b:bytes at:time,zero own:string any:json m:json |"},
		{"indexes", struct {
			ID    string `json:"id" orm:"primaryKey"`
			Email string `json:"email" orm:"unique"`
			City  string `json:"city" orm:"index:place, unique:home"`
			Zip   string `json:"zip" orm:" index:place,, index "`
			House int    `json:"house" orm:"unique:home"`
		}{}, "id:string,pk,zero email:string,zero city:string,zero zip:string,zero house:int,zero | +email city-zip +city-house zip"},
		{"folded indexes", struct {
			ID    string  `json:"id" orm:"primaryKey"`
			Email string  `json:"email" orm:"unique,fold"`
			Name  *string `json:"name" orm:"fold, index ,unique:home"`
			City  string  `json:"city" orm:"index:place"`
			Zip   string  `json:"zip" orm:"index:place"`
			House int     `json:"house" orm:"unique:home,fold"`
		}{}, "id:string,pk,zero email:string,zero name:string city:string,zero zip:string,zero house:int,zero | +~email ~name +~name-house city-zip"},
		{"indexes of lists", struct {
			ID    string        `json:"id" orm:"primaryKey"`
			Tags  []string      `json:"tags" orm:"index"`
			Nums  *[2]uint8     `json:"nums" orm:"index"`
			Own   []kindly      `json:"own" orm:"index"`
			Ptr   []*float64    `json:"ptr" orm:"index"`
			D     []json.Number `json:"d" orm:"index"`
			Mixed []any         `json:"mixed" orm:"index"`
		}{}, "id:string,pk,zero tags:json nums:json own:json ptr:json d:json mixed:json | tags=each:string nums=each:uint own=each:string ptr=each:float d=each:decimal mixed"},
		{"roles and versions", struct {
			base
			Version uint64    `json:"-" orm:"version"`
			Made    time.Time `json:"made" orm:"createdAt"`
			Changed time.Time `json:"changed" orm:"updatedAt,index"`
		}{}, "id:int,pk,auto,zero made:time,zero,createdAt changed:time,zero,updatedAt | changed"},
		{"an outer field hides an embedded one", struct {
			ID string `json:"id" orm:"primaryKey"`
			base
		}{}, "id:string,pk,zero |"},
		{"an embedded struct with a name is a column", struct {
			ID   int `json:"id" orm:"primaryKey"`
			Base struct {
				X int
			} `json:"base"`
		}{}, "id:int,pk,zero base:json |"},
	} {
		s, err := Compile(reflect.TypeOf(c.of), "M")
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if got := spell(s.Definition); got != c.want {
			t.Errorf("%s:\n%s\nwant\n%s", c.name, got, c.want)
		}
		for i, path := range s.paths {
			f := reflect.TypeOf(c.of).FieldByIndex(path)
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			if name != "" && name != s.Definition.Columns[i].Name {
				t.Errorf("%s: column %s is field %s", c.name, s.Definition.Columns[i].Name, f.Name)
			}
		}
	}
	s, err := Compile(reflect.TypeFor[struct {
		base
		Version uint64    `json:"-" orm:"version"`
		Made    time.Time `json:"made" orm:"createdAt"`
	}](), "M")
	if err != nil || fmt.Sprint(s.Key, s.Version, s.CreatedAt, s.UpdatedAt) != "[0 0] [1] [2] []" {
		t.Errorf("%+v, %v", s, err)
	}
}

type embedsItself struct{ *embedsItself }

type generic[T any] struct {
	ID T `json:"id" orm:"primaryKey"`
}

// Errors name the field, and what to do.
func TestCompileErrors(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		of   any
		want string
	}{
		{7, "int is not a struct"},
		{struct{}{}, "the struct type has no name"},
		{generic[int]{}, "is generic"},
		{embedsItself{}, "embedded pointer embedsItself is not exported"},
		{struct {
			ID int `orm:"primarykey"`
		}{}, `field ID: unknown option "primarykey"`},
		{struct {
			ID int `orm:"index;unique"`
		}{}, `field ID: unknown option "index;unique"`},
		{struct {
			ID *int `orm:"primaryKey"`
		}{}, "primary key ID is a pointer"},
		{struct {
			A string `orm:"fold"`
		}{}, `field A: orm:"fold"; fold is said of the indexes of a tag, as in orm:"unique,fold"`},
		{struct {
			A string `orm:"index,fold:x"`
		}{}, `field A: orm:"index,fold:x"; fold is said of the indexes of a tag, as in orm:"unique,fold"`},
		{struct {
			A string `orm:"unique:x,fold"`
			B string `orm:"unique:x"`
		}{}, `columns A and B are in the index called "x", one with fold and one without`},
		{struct {
			A string `orm:"index:x"`
			B string `orm:"index:x,fold"`
		}{}, `columns A and B are in the index called "x", one with fold and one without`},
		{struct {
			ID float64 `orm:"primaryKey,auto"`
		}{}, "field ID has type float64, which auto cannot fill"},
		{struct {
			Own struct{ kindly } `json:"own" orm:"auto"`
		}{}, "field Own has type"},
		{struct {
			V int `json:"-" orm:"version"`
		}{}, "version field V has type int; use uint64"},
		{struct {
			V uint64 `json:"-" orm:"version,index"`
		}{}, "- and version stand by themselves"},
		{struct {
			V uint64 `orm:"version"`
			W uint64 `orm:"version"`
		}{}, "field W is a second version"},
		{struct {
			X int `json:"-"`
		}{}, `say orm:"-" if it is not, or orm:"column:name" if it is`},
		{struct {
			X int `orm:"-,unique"`
		}{}, "- and version stand by themselves"},
		{struct {
			X int `json:"-" orm:"column:"`
		}{}, "name one column"},
		{struct {
			X int `json:"a"`
			Y int `json:"-" orm:"column:a"`
		}{}, `two fields have the column name "a"`},
		{struct {
			base
			X int `json:"id" orm:"-"`
		}{}, `field X hides an embedded field with the column name "id"`},
		{tagged(`orm:"unique,\S"`), `the value of orm is "unique,\S", which is not valid in Go`},
		{tagged(`json:"a"orm:"unique"`), ""},
		{tagged(`json:"a" orm:'unique'`), "is not key:"},
		{tagged(`json:"a" orm: "unique"`), "is not key:"},
		{tagged(`json:"a" orm:"unique`), "the value of orm has no end"},
		{tagged(`json="a" orm="unique"`), "is not key:"},
		{struct {
			X int `json:"-" orm:"index"`
		}{}, `so orm:"index" has no column to work on`},
		{struct {
			At string `orm:"createdAt"`
		}{}, "field At: createdAt needs type time"},
		{struct {
			X int `json:"x,string"`
		}{}, `field X: the json option "string"`},
		{struct {
			X map[string]int `json:",inline"`
		}{}, `field X: the json option "inline"`},
		{struct {
			X chan int
		}{}, "field X: type chan int cannot be stored as JSON"},
		{struct {
			X []struct{ F func() }
		}{}, "field X: its field F: type func() cannot be stored"},
		{struct {
			X fmt.Stringer
		}{}, "field X: interface type fmt.Stringer cannot be read back"},
		{struct {
			X silent
		}{}, "field X: type schema.silent has MarshalText but no UnmarshalText"},
		{reflect.StructOf([]reflect.StructField{ // which vet would refuse in a struct
			{Name: "X", Type: reflect.TypeFor[int](), Tag: `json:"a"`},
			{Name: "Y", Type: reflect.TypeFor[int](), Tag: `json:"a"`},
		}), `two fields have the column name "a"`},
		{struct {
			base
			ID int `json:"id"`
		}{}, `field ID hides an embedded field with the column name "id"`},
		{struct {
			base `orm:"index"`
		}{}, "embedded base has an orm tag"},
		{struct {
			x int `orm:"index"`
		}{}, "field x has an orm tag but is not exported"},
		{struct {
			A int `json:"a" orm:"index:x"`
			B int `json:"b" orm:"index:x"`
			C int `json:"a-b" orm:"index"`
		}{}, `would share the name "a-b"`},
	} {
		name := "M"
		if strings.Contains(c.want, "has no name") || strings.Contains(c.want, "is generic") {
			name = ""
		}
		typ, ok := c.of.(reflect.Type)
		if !ok {
			typ = reflect.TypeOf(c.of)
		}
		_, err := Compile(typ, name)
		if c.want == "" && err == nil {
			continue
		}
		if !errors.Is(err, errs.ErrSchema) || !strings.Contains(fmt.Sprint(err), c.want) {
			t.Errorf("%T: %v, want %q", c.of, err, c.want)
		}
	}
}

// tagged is a struct with one field that has a tag which vet would refuse.
func tagged(tag reflect.StructTag) reflect.Type {
	return reflect.StructOf([]reflect.StructField{{Name: "X", Type: reflect.TypeFor[int](), Tag: tag}})
}

// A column is known by the field that a pointer points to.
func TestColumnAt(t *testing.T) {
	t.Parallel()
	var v struct {
		base
		Name string  `json:"name"`
		Nick *string `json:"nick"`
		Out  int     `json:"-" orm:"-"`
	}
	v.Nick = new(string)
	for _, c := range []struct {
		pointer any
		want    string
	}{{&v.ID, "id"}, {&v.Name, "name"}, {&v.Nick, "nick"}, {v.Nick, "nick"}, {&v.Out, ""}, {new(int), ""}, {&v, ""}} {
		name, ok, err := columnAt(reflect.ValueOf(&v).Elem(), reflect.ValueOf(c.pointer))
		if err != nil || name != c.want || ok != (c.want != "") {
			t.Errorf("%T: %q, %v, %v, want %q", c.pointer, name, ok, err, c.want)
		}
	}
}

// FuzzTags: whatever the tag, it is taken or refused with an error that names the
// field, and what is taken is a model that holds.
func FuzzTags(f *testing.F) {
	for _, tag := range []string{"", "primaryKey", "primaryKey,auto", " index , unique ", "index:a,index:a", "unique:,index:", ",,", "version", "createdAt", "index:a:b", "primaryKey,primaryKey", "\x00", "é", "index:" + strings.Repeat("x", 200)} {
		for _, name := range []string{"id", "", "-", "a.b", "_x", "x,omitempty"} {
			f.Add(name, tag)
		}
	}
	f.Fuzz(func(t *testing.T, name, tag string) {
		if strings.ContainsAny(tag+name, "\"`\\\n\r") {
			t.Skip("the tag would end there")
		}
		typ := reflect.StructOf([]reflect.StructField{
			{Name: "Key", Type: reflect.TypeFor[int](), Tag: `json:"key" orm:"primaryKey"`},
			{Name: "Field", Type: reflect.TypeFor[string](), Tag: reflect.StructTag(fmt.Sprintf(`json:"%s" orm:"%s"`, name, tag))},
		})
		s, err := Compile(typ, "M")
		if err != nil {
			if !errors.Is(err, errs.ErrSchema) || !strings.Contains(err.Error(), "Field") && !strings.Contains(err.Error(), `column name "key"`) {
				t.Errorf("%q %q: %v", name, tag, err)
			}
			return
		}
		for _, c := range s.Definition.Columns {
			if c.Name != "key" && c.Type != value.String {
				t.Errorf("%q %q: %+v", name, tag, c)
			}
		}
		s.Definition.Shards = 1
		if err := s.Definition.Validate(); err != nil && !errors.Is(err, errs.ErrSchema) {
			t.Errorf("%q %q: %v", name, tag, err)
		}
	})
}
