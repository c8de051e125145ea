//! A sink that is a syslog server, over TLS ([RFC 5425](https://www.rfc-editor.org/rfc/rfc5425)). The protocol has no
//! acknowledgement: what counts is that the server read a connection to its end and closed it in order.

use std::time::Duration;

use gateway::outbound::{Outbound, Target};
use insight::{Event, Shape};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    time::{Instant, timeout_at},
};

use super::{Taken, post::NotTaken};

/// A syslog server.
pub(super) struct Syslog {
    outbound: Outbound,
    target: Target,
    shape: Shape,
    patience: Duration,
}

impl Syslog {
    pub(super) fn of(
        outbound: Outbound,
        url: &str,
        shape: Shape,
        patience: Duration,
    ) -> Result<Self, String> {
        let target = outbound.target(url, true).map_err(|error| error.to_string())?;
        Ok(Self { outbound, target, shape, patience })
    }

    /// A connection for each batch: only its end shows that the server has read it.
    pub(super) async fn deliver(&self, events: &[Event<'_>]) -> Result<Taken, NotTaken> {
        let until = Instant::now() + self.patience;
        let mut stream = self.outbound.connect(&self.target, until).await?;
        let frames: Vec<u8> = events.iter().flat_map(|event| event.syslog(self.shape)).collect();
        let spoken = async {
            stream.write_all(&frames).await?;
            stream.shutdown().await?;
            // A server says nothing; it closes its side once it has read ours to the end.
            match stream.read(&mut [0; 64]).await {
                Ok(_) => Ok(()),
                // It closed the connection without TLS's own goodbye, as many do.
                Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Ok(()),
                Err(error) => Err(error),
            }
        };
        timeout_at(until, spoken).await.map_err(|_| NotTaken::Slow(self.patience))??;
        Ok(Taken::default())
    }
}
