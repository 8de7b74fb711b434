//! How messages are put into a stream: prost's way, with buffers that suit many quiet streams.
//!
//! tonic keeps a buffer for each direction of each stream, which never shrinks: with thousands of followers its size is
//! most of what a hub holds for one.

use std::marker::PhantomData;

use prost::Message;
use tonic::codec::{BufferSettings, Codec};
use tonic_prost::ProstCodec;

/// What a buffer begins with, and at how many bytes it is handed on: heartbeats and most batches are smaller, and what
/// is larger gains nothing by waiting for more.
const BUFFER: usize = 2 << 10;

/// Encodes `T` and decodes `U`.
#[derive(Clone, Debug)]
pub struct FeedCodec<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for FeedCodec<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> Codec for FeedCodec<T, U>
where
    T: Message + Send + 'static,
    U: Message + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = <ProstCodec<T, U> as Codec>::Encoder;
    type Decoder = <ProstCodec<T, U> as Codec>::Decoder;

    fn encoder(&mut self) -> Self::Encoder {
        ProstCodec::<T, U>::raw_encoder(BufferSettings::new(BUFFER, BUFFER))
    }

    fn decoder(&mut self) -> Self::Decoder {
        ProstCodec::<T, U>::raw_decoder(BufferSettings::new(BUFFER, BUFFER))
    }
}
