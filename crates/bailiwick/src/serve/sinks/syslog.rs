//! A sink that is a syslog server, over TLS ([RFC 5425](https://www.rfc-editor.org/rfc/rfc5425)). The protocol has no
//! acknowledgement: what counts is that the server read a connection to its end and closed it in order.

use std::{io, time::Duration};

use gateway::outbound::{Outbound, Stream, Target};
use insight::{Event, Shape};
use model::Foreign;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    time::{Instant, timeout, timeout_at},
};

use super::{Taken, post::NotTaken};

/// How long a connection is watched for an early end once all is written: a server that reads leaves it open until this side ends it.
const EARLY: Duration = Duration::from_millis(250);

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
            stream.flush().await?;
            if let Ok(ended) = timeout(EARLY, end(&mut *stream)).await {
                ended?;
                return Err(NotTaken::Early);
            }
            stream.shutdown().await?;
            end(&mut *stream).await
        };
        timeout_at(until, spoken).await.map_err(|_| NotTaken::Slow(self.patience))??;
        Ok(Taken::default())
    }
}

/// Waits for the server to close its side. It says nothing: whoever answers is none.
async fn end(stream: &mut (dyn Stream + '_)) -> Result<(), NotTaken> {
    let mut said = [0; 64];
    match stream.read(&mut said).await {
        Ok(0) => Ok(()),
        Ok(length) => {
            let said = Foreign::new(String::from_utf8_lossy(&said[..length]));
            Err(NotTaken::Strange(format!(
                "a syslog server says nothing, and this one said `{said}`"
            )))
        }
        // It closed the connection without TLS's own goodbye, as many do.
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(()),
        Err(error) => Err(error.into()),
    }
}
