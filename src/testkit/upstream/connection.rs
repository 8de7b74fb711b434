//! A fake upstream's connections, over TCP and TLS.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::HandshakeKind;
use tokio_util::sync::CancellationToken;

use super::{Behaviour, State, Task, forged, lock, take};
use crate::forward::Transport;

/// What becomes of connections.
#[derive(Clone, Default)]
pub(super) struct Conduct {
    /// Whether replies come in the order of the queries.
    pub(super) in_order: bool,
    /// How many were accepted.
    pub(super) accepted: usize,
    /// How many of them resumed a TLS session.
    pub(super) resumed: usize,
    /// Closes those that were accepted since the last call.
    closing: CancellationToken,
    /// Whether those that were accepted since the last call are mute.
    muted: Arc<AtomicBool>,
}

impl Conduct {
    pub(super) fn close(&mut self) {
        std::mem::take(&mut self.closing).cancel();
    }

    pub(super) fn mute(&mut self) {
        std::mem::take(&mut self.muted).store(true, Ordering::SeqCst);
    }
}

pub(super) async fn serve_tcp(state: Arc<Mutex<State>>, listener: TcpListener, tls: Option<TlsAcceptor>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Ok((stream, source)) = listener.accept() => {
                let (state, tls) = (state.clone(), tls.clone());
                lock(&state).conduct.accepted += 1;
                let conduct = lock(&state).conduct.clone();
                connections.spawn(async move {
                    let closing = conduct.closing.clone();
                    // Ends with an error when the other side leaves.
                    closing.run_until_cancelled(serve(state, stream, source, tls, conduct)).await
                });
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn serve(
    state: Arc<Mutex<State>>,
    stream: TcpStream,
    source: SocketAddr,
    tls: Option<TlsAcceptor>,
    conduct: Conduct,
) -> io::Result<()> {
    let Some(tls) = tls else { return talk(state, stream, source, Transport::Tcp, conduct).await };
    let stream = tls.accept(stream).await?;
    if stream.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed) {
        lock(&state).conduct.resumed += 1;
    }
    talk(state, stream, source, Transport::Tls, conduct).await
}

async fn talk<S: AsyncRead + AsyncWrite + Send + 'static>(
    state: Arc<Mutex<State>>,
    stream: S,
    source: SocketAddr,
    transport: Transport,
    conduct: Conduct,
) -> io::Result<()> {
    let (mut reader, writer) = tokio::io::split(stream);
    let writer = Arc::new(tokio::sync::Mutex::new(writer));
    let mut replies = JoinSet::new();
    loop {
        tokio::select! {
            length = reader.read_u16() => {
                let mut raw = vec![0; usize::from(length?)];
                reader.read_exact(&mut raw).await?;
                let Some(task) = take(&state, &raw, source, transport) else { return Ok(()) };
                if conduct.muted.load(Ordering::SeqCst) {
                    continue;
                }
                let reply = reply(writer.clone(), task, conduct.muted.clone());
                if conduct.in_order {
                    reply.await?;
                } else {
                    replies.spawn(reply);
                }
            }
            Some(Ok(replied)) = replies.join_next() => replied?,
        }
    }
}

/// Writes the reply as its behaviour wants it; an error closes the connection.
async fn reply<S: AsyncWrite>(
    writer: Arc<tokio::sync::Mutex<WriteHalf<S>>>,
    task: Task,
    muted: Arc<AtomicBool>,
) -> io::Result<()> {
    let length = u16::try_from(task.reply.len()).unwrap_or(u16::MAX);
    let framed = [&length.to_be_bytes()[..], &task.reply].concat();
    match task.behaviour {
        Behaviour::Silent => return Ok(()),
        Behaviour::CloseTcp => return Err(io::ErrorKind::ConnectionAborted.into()),
        Behaviour::Delay(time) => tokio::time::sleep(time).await,
        _ => {}
    }
    let mut writer = writer.lock().await;
    match task.behaviour {
        Behaviour::HalfTcp => {
            writer.write_all(&framed[..framed.len() / 2]).await?;
            writer.flush().await?;
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        Behaviour::DribbleTcp(pause) => {
            for byte in framed {
                tokio::time::sleep(pause).await;
                writer.write_u8(byte).await?;
                writer.flush().await?;
            }
            return Ok(());
        }
        Behaviour::WrongIds(count) => {
            for i in 1..=count {
                writer.write_all(&framed[..2]).await?;
                writer.write_all(&forged(&task.reply, task.query.metadata.id.wrapping_add(i))).await?;
            }
        }
        _ => {}
    }
    if !muted.load(Ordering::SeqCst) {
        writer.write_all(&framed).await?;
        writer.flush().await?;
    }
    Ok(())
}
