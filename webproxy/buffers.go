package webproxy

import "sync"

// bufferSize is what bodies of answers are copied through.
const bufferSize = 32 << 10

// buffers are those that are not in use. The zero value is ready for use.
type buffers struct{ pool sync.Pool }

func (b *buffers) take() *[bufferSize]byte {
	if stored, ok := b.pool.Get().(*[bufferSize]byte); ok {
		return stored
	}
	return new([bufferSize]byte)
}

func (b *buffers) give(unused *[bufferSize]byte) { b.pool.Put(unused) }
