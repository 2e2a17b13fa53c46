package proxy

import (
	"sync"
	"sync/atomic"
)

// maxPlaintext is how much a TLS record carries at most (RFC 8446, section 5.1).
const maxPlaintext = 16 << 10

// maxRecord is how long a record can be, with its header, sealed in whatever way (RFC 5246, section 6.2.3).
const maxRecord = recordHeader + maxPlaintext + 2048

// bufferSizes are for streams that carry little at a time and for those that carry much: for small messages and handshakes, and
// for 1, 4 and 16 TLS records of full size.
var bufferSizes = [...]int{4 << 10, 20 << 10, 72 << 10, 264 << 10}

// recordLevel is that of the smallest buffers that any TLS record fits into.
const recordLevel = 1

// maxLarge bounds the bytes of all buffers in use that are for more than one record. Each stream that is slow to be taken keeps one, and there
// may be many of them.
const maxLarge = 64 << 20

// buffer is a piece of memory that bytes are copied through.
type buffer struct {
	bytes []byte
	level int // the index of its size in bufferSizes
}

// buffers are buffers in store. The zero value is ready for use. All methods are safe for concurrent use.
type buffers struct {
	stored [len(bufferSizes)]sync.Pool
	large  atomic.Int64 // bytes of those in use that are for more than one record
}

// take returns a buffer of a level, or a smaller one when too much memory is in use.
func (b *buffers) take(level int) *buffer {
	for level > recordLevel && b.large.Add(int64(bufferSizes[level])) > maxLarge {
		b.large.Add(-int64(bufferSizes[level]))
		level--
	}
	if stored, ok := b.stored[level].Get().(*buffer); ok {
		return stored
	}
	return &buffer{bytes: make([]byte, bufferSizes[level]), level: level}
}

// takeFor returns a buffer for so many bytes, or the largest that there is.
func (b *buffers) takeFor(n int) *buffer {
	level := 0
	for level < len(bufferSizes)-1 && bufferSizes[level] < n {
		level++
	}
	return b.take(level)
}

// give takes a buffer back. Nobody may use it then.
func (b *buffers) give(unused *buffer) {
	if unused.level > recordLevel {
		b.large.Add(-int64(len(unused.bytes)))
	}
	b.stored[unused.level].Put(unused)
}
