// Functions of Go: arguments in registers of its own, text, lists, methods, generic functions.
// BUILD go build -o functions-go $SRC
// BUILD go build -gcflags='-N -l' -o functions-go-plain $SRC
package main

import (
	"fmt"
	"os"
)

type T struct{ n int }
type XT struct{ n int }
type Pair struct {
	a int64
	b string
}

//go:noinline
func (t *T) Method(n int) int { return t.n + n }

//go:noinline
func (t *XT) Method(n int) int { return t.n - n }

//go:noinline
func Double(n int, f float64, last int) int { return 2*n + last + int(f) }

//go:noinline
func Text(s string, last int) int { return len(s) + last }

//go:noinline
func List(l []int, b []byte, last int) int { return len(l) + len(b) + last }

//go:noinline
func Both(p Pair, e error, last int) (int, error) { return len(p.b) + last, e }

//go:noinline
func Many(a, b, c, d, e, f, g, h, i, j int) int { return a + b + c + d + e + f + g + h + i + j }

//go:noinline
func Map[V any](in []V, f func(V) V) []V {
	out := make([]V, 0, len(in))
	for _, v := range in {
		out = append(out, f(v))
	}
	return out
}

func main() {
	fmt.Println(Double(4, 2.5, 7), Text("hello", 4242), List([]int{1, 2, 3}, []byte("bytes"), 4242))
	n, err := Both(Pair{1, "pair"}, os.ErrExist, 4242)
	fmt.Println(n, err, Many(1, 2, 3, 4, 5, 6, 7, 8, 9, 10))
	fmt.Println((&T{1}).Method(2), (&XT{1}).Method(2))
	fmt.Println(Map([]int{1}, func(n int) int { return n + 1 }), Map([]string{"a"}, func(s string) string { return s + "b" }))
}
