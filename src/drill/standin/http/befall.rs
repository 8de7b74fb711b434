//! Faults on the way out: bodies that drip, and bodies that break off.

use std::io;
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use futures_util::StreamExt as _;
use futures_util::stream;
use tokio::time::sleep;

use super::body::{Body, Chunk};

/// How long what was sent gets before the connection is reset: a reset overtakes what is still in buffers.
const BEFORE_RESET: Duration = Duration::from_millis(5);

/// The same bytes, `bytes` at a time, one portion every `every`.
pub(super) fn drip(body: Body, bytes: usize, every: Duration) -> Body {
    let portions =
        stream::unfold((body.into_chunks(), Chunk::default()), move |(mut chunks, mut rest)| async move {
            while !rest.has_remaining() {
                match chunks.next().await? {
                    Ok(chunk) => rest = chunk,
                    Err(error) => return Some((Err(error), (chunks, rest))),
                }
            }
            sleep(every).await;
            Some((Ok(portion(&mut rest, bytes.max(1))), (chunks, rest)))
        });
    Body::streamed(portions.boxed())
}

/// The first `after` bytes, then a reset.
pub(super) fn cut(body: Body, after: usize) -> Body {
    let portions = stream::unfold((body.into_chunks(), after), |(mut chunks, left)| async move {
        if left > 0
            && let Some(Ok(mut chunk)) = chunks.next().await
        {
            let sent = portion(&mut chunk, left);
            let left = left - sent.remaining();
            return Some((Ok(sent), (chunks, left)));
        }
        sleep(BEFORE_RESET).await;
        Some((Err(io::ErrorKind::ConnectionReset.into()), (chunks, 0)))
    });
    Body::streamed(portions.boxed())
}

/// Up to `bytes` of a chunk, as a chunk.
fn portion(chunk: &mut Chunk, bytes: usize) -> Chunk {
    [chunk.copy_to_bytes(bytes.min(chunk.remaining()))].into()
}

/// What no JSON parser accepts.
pub(super) fn garbage() -> Body {
    let junk = Bytes::from_static(b"\x00\xff{]\"\n<html>502 Bad Gateway</html>\xc3\x28\n");
    Body::streamed(stream::iter([Ok(Chunk::from([junk]))]).boxed())
}
