//! TURN over TCP (RFC 8656 §2.1, RFC 4571-like): for phones whose network drops UDP. The relayed side stays UDP.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};

use super::allocation::{ClientAddress, Path, Transport};
use super::server::Relay;
use super::stun::{self, CHANNEL_HEADER_LENGTH, HEADER_LENGTH};

const CONNECTIONS_MAX: u64 = 2048;
/// Frames waiting for a slow connection; beyond that media is dropped, because late media is worthless.
const QUEUE_FRAMES_MAX: usize = 256;
const FRAME_MAX: usize = 4096;
/// A connection that has no allocation and says nothing for this long is closed.
const IDLE_LIMIT: Duration = Duration::from_secs(30);

/// Accepts connections until stopped.
pub async fn serve(relay: Arc<Relay>, listener: TcpListener, mut stopped: watch::Receiver<bool>) {
    loop {
        let (stream, address) = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of descriptors, most likely: wait for some to be freed rather than spin.
                    tracing::warn!(%error, "the relay cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            },
            _ = stopped.changed() => return,
        };
        if relay.counters.tcp_connections.load(Ordering::Relaxed) >= CONNECTIONS_MAX {
            continue;
        }
        relay.counters.tcp_connections.fetch_add(1, Ordering::Relaxed);
        let (relay, mut stopped) = (Arc::clone(&relay), stopped.clone());
        tokio::spawn(async move {
            let client = ClientAddress { transport: Transport::Tcp, address };
            tokio::select! {
                () = serve_connection(&relay, stream, client) => {}
                _ = stopped.changed() => {}
            }
            relay.close(client);
            relay.counters.tcp_connections.fetch_sub(1, Ordering::Relaxed);
        });
    }
}

async fn serve_connection(relay: &Arc<Relay>, stream: TcpStream, client: ClientAddress) {
    // Media cannot wait for Nagle.
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let (mut reader, mut writer) = stream.into_split();
    let (queue, mut frames) = mpsc::channel::<Vec<u8>>(QUEUE_FRAMES_MAX);
    let path = Path::Tcp(queue.clone());
    let write = async {
        while let Some(frame) = frames.recv().await {
            if writer.write_all(&frame).await.is_err() {
                return;
            }
        }
    };
    let read = async {
        let mut buffer = vec![0; FRAME_MAX];
        loop {
            while tokio::time::timeout(IDLE_LIMIT, reader.readable()).await.is_err() {
                if !relay.has_allocation(client) {
                    return;
                }
            }
            // A frame that stops half way for the whole limit leaves the stream out of step: no client to keep.
            let Ok(Some(length)) =
                tokio::time::timeout(IDLE_LIMIT, read_frame(&mut reader, &mut buffer)).await
            else {
                return;
            };
            if let Some(reply) = relay.handle(client, &path, &buffer[..length]).await {
                let mut reply = reply;
                reply.resize(reply.len().next_multiple_of(4), 0);
                if queue.send(reply).await.is_err() {
                    return;
                }
            }
        }
    };
    tokio::select! {
        () = write => {}
        () = read => {}
    }
}

/// Reads one STUN message or ChannelData message (padded to four bytes on streams); returns its length
/// without padding, None when the stream ends or is not ours.
async fn read_frame(reader: &mut (impl AsyncReadExt + Unpin), buffer: &mut [u8]) -> Option<usize> {
    reader.read_exact(&mut buffer[..CHANNEL_HEADER_LENGTH]).await.ok()?;
    let length = usize::from(u16::from_be_bytes([buffer[2], buffer[3]]));
    let (total, padded) = if stun::is_channel_data(buffer) {
        let total = CHANNEL_HEADER_LENGTH + length;
        (total, total.next_multiple_of(4))
    } else if buffer[0] >> 6 == 0 {
        (HEADER_LENGTH + length, HEADER_LENGTH + length)
    } else {
        return None;
    };
    let rest = buffer.get_mut(CHANNEL_HEADER_LENGTH..padded)?;
    reader.read_exact(rest).await.ok()?;
    Some(total)
}
