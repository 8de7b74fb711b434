//! How the bytes of answers are cut: chunks that share the objects' text, at the places where Go's `net/http`
//! cuts them.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use futures_util::StreamExt as _;
use futures_util::stream::{self, BoxStream};
use hyper::body::{Body as HttpBody, Frame};

/// What Go's server holds back before it has to send: an answer that fits gets a `Content-Length`, others are
/// cut here (`net/http`, `bufferBeforeChunkingSize`).
pub(super) const GO_BUFFER: usize = 2_048;

/// One chunk of an answer, in pieces that are shared with the store.
#[derive(Debug, Default)]
pub(super) struct Chunk {
    /// The pieces, none of them empty.
    pieces: VecDeque<Bytes>,
    /// Bytes in all of them.
    size: usize,
}

impl Chunk {
    fn push(&mut self, piece: Bytes) {
        self.size += piece.len();
        if !piece.is_empty() {
            self.pieces.push_back(piece);
        }
    }
}

impl<const N: usize> From<[Bytes; N]> for Chunk {
    fn from(pieces: [Bytes; N]) -> Self {
        let mut chunk = Self::default();
        pieces.into_iter().for_each(|piece| chunk.push(piece));
        chunk
    }
}

impl Buf for Chunk {
    fn remaining(&self) -> usize {
        self.size
    }

    fn chunk(&self) -> &[u8] {
        self.pieces.front().map_or(&[], |piece| piece)
    }

    fn chunks_vectored<'a>(&'a self, into: &mut [IoSlice<'a>]) -> usize {
        let filled = into.iter_mut().zip(&self.pieces).map(|(slot, piece)| *slot = IoSlice::new(piece));
        filled.count()
    }

    fn advance(&mut self, mut n: usize) {
        assert!(n <= self.size, "nobody advances past the end");
        self.size -= n;
        while n > 0
            && let Some(front) = self.pieces.front_mut()
        {
            let step = n.min(front.len());
            front.advance(step);
            n -= step;
            if front.is_empty() {
                self.pieces.pop_front();
            }
        }
    }
}

/// Cuts what a handler writes as Go's buffered writer does: full buffers, and what is larger than a buffer
/// directly where nothing waits before it.
struct Cutter<I> {
    /// What is still to be written.
    writes: I,
    /// The write that is under way.
    rest: Bytes,
    /// What is held back.
    held: Chunk,
}

impl<I: Iterator<Item = Bytes>> Iterator for Cutter<I> {
    type Item = Chunk;

    fn next(&mut self) -> Option<Chunk> {
        loop {
            let room = GO_BUFFER - self.held.size;
            if self.rest.len() > room {
                if self.held.size == 0 {
                    return Some([std::mem::take(&mut self.rest)].into());
                }
                self.held.push(self.rest.split_to(room));
                return Some(std::mem::take(&mut self.held));
            }
            self.held.push(std::mem::take(&mut self.rest));
            match self.writes.next() {
                Some(write) => self.rest = write,
                None if self.held.size == 0 => return None,
                None => return Some(std::mem::take(&mut self.held)),
            }
        }
    }
}

/// The body of an answer.
pub(super) struct Body {
    /// Its chunks.
    chunks: BoxStream<'static, io::Result<Chunk>>,
}

impl Body {
    /// One chunk for each item.
    pub(super) fn streamed(chunks: BoxStream<'static, io::Result<Chunk>>) -> Self {
        Self { chunks }
    }

    /// What a handler writes, cut as Go does; with its length, if it is known at the beginning.
    pub(super) fn written(writes: impl Iterator<Item = Bytes> + Send + 'static) -> (Self, Option<usize>) {
        let mut cutter = Cutter { writes, rest: Bytes::new(), held: Chunk::default() };
        let first = cutter.next().unwrap_or_default();
        let second = cutter.next();
        let length = (second.is_none() && first.size <= GO_BUFFER).then_some(first.size);
        let begun = [Some(first), second].into_iter().flatten();
        (Self { chunks: stream::iter(begun.chain(cutter).map(Ok)).boxed() }, length)
    }

    /// The chunks.
    pub(super) fn into_chunks(self) -> BoxStream<'static, io::Result<Chunk>> {
        self.chunks
    }
}

impl HttpBody for Body {
    type Data = Chunk;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Chunk>>>> {
        self.chunks.poll_next_unpin(cx).map_ok(Frame::data)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cuts(writes: &[usize]) -> Vec<usize> {
        let writes: Vec<_> = writes.iter().map(|n| Bytes::from(vec![b'x'; *n])).collect();
        Cutter { writes: writes.into_iter(), rest: Bytes::new(), held: Chunk::default() }
            .map(|c| c.size)
            .collect()
    }

    #[test]
    fn cuts_are_those_of_gos_buffered_writer() {
        for (name, writes, want) in [
            ("nothing", vec![], vec![]),
            ("what fits is one", vec![100, 1_948], vec![2_048]),
            ("one byte more makes two", vec![100, 1_949], vec![2_048, 1]),
            ("large and alone goes out as it is", vec![5_000], vec![5_000]),
            ("large after small: a full buffer, the rest as it is", vec![48, 5_000], vec![2_048, 3_000]),
            ("large after small with a small rest", vec![48, 3_000], vec![2_048, 1_000]),
            ("small after large", vec![5_000, 10, 20], vec![5_000, 30]),
        ] {
            assert_eq!(cuts(&writes), want, "{name}");
        }
    }

    #[test]
    fn a_length_is_known_of_what_fits_the_buffer() {
        for (size, want) in [(0, Some(0)), (2_048, Some(2_048)), (2_049, None), (9_000, None)] {
            let (_, length) = Body::written([Bytes::from(vec![b'x'; size])].into_iter());
            assert_eq!(length, want, "{size}");
        }
    }

    #[test]
    fn a_chunk_can_be_read_in_any_steps() {
        let pieces = || Chunk::from([Bytes::from_static(b"abc"), Bytes::new(), Bytes::from_static(b"defg")]);
        for step in 1..=7 {
            let (mut chunk, mut read) = (pieces(), Vec::new());
            while chunk.has_remaining() {
                let n = step.min(chunk.remaining());
                read.extend_from_slice(&chunk.copy_to_bytes(n));
            }
            assert_eq!(read, b"abcdefg");
        }
    }
}
