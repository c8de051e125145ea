//! `[[sinks]]`: the systems that the ledger's entries are sent to.

use std::path::{Path, PathBuf};

use insight::{OcsfVersion, Shape};
use model::Name;
use serde::Deserialize;

use super::{SecretRef, failure};
use crate::{
    failure::{Failure, Result},
    toml_input,
};

/// One sink.
#[derive(Debug)]
pub(crate) struct Sink {
    /// What it is called in metrics, events and the ledger.
    pub(crate) name: Name,
    pub(crate) to: SinkTo,
    /// How far it may be behind before entries are left out.
    pub(crate) bound: SinkBound,
}

/// Where a sink is, and how it is spoken to.
#[derive(Debug)]
pub(crate) enum SinkTo {
    /// A file, a line an entry.
    JsonLines { file: PathBuf, shape: Shape },
    /// An HTTP event collector.
    Collector { url: String, token: SecretRef, shape: Shape },
    /// A collector of OpenTelemetry, over HTTP.
    OpenTelemetry { url: String, token: Option<SecretRef> },
    /// A syslog server, over TLS; the URL is that of its host and port, with the scheme `https`.
    Syslog { url: String, shape: Shape },
}

/// How far a sink may be behind; without a bound it gets every entry, however late.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct SinkBound {
    pub(crate) entries: Option<u64>,
    pub(crate) days: Option<u32>,
}

/// A sink as its table says it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Table {
    name: Name,
    kind: Kind,
    url: Option<String>,
    file: Option<PathBuf>,
    token: Option<String>,
    events: Option<Events>,
    keep_entries: Option<u64>,
    keep_days: Option<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    JsonLines,
    HttpEventCollector,
    Opentelemetry,
    Syslog,
}

#[derive(Debug, Clone, Copy, Deserialize)]
enum Events {
    #[serde(rename = "leaf")]
    Leaf,
    #[serde(rename = "ocsf-1.8")]
    Ocsf1_8,
    #[serde(rename = "ocsf-1.9")]
    Ocsf1_9,
}

/// The sinks of one file; its other sections are read elsewhere.
#[derive(Deserialize)]
struct File {
    #[serde(default)]
    sinks: Vec<Table>,
}

/// Where syslog over TLS is by default ([RFC 5425 §4.1](https://www.rfc-editor.org/rfc/rfc5425#section-4.1)).
const SYSLOG_PORT: u16 = 6514;

/// Reads them from the text of a file.
pub(super) fn read(file: &Path, text: &str) -> Result<Vec<Table>> {
    let read: File =
        toml::from_str(text).map_err(|error| toml_input::refused(file, text, &error))?;
    Ok(read.sinks)
}

/// The sinks of all files; `base` is what relative paths are relative to.
pub(super) fn all(tables: &[Table], base: &Path) -> Result<Vec<Sink>> {
    let mut sinks: Vec<Sink> = Vec::new();
    for table in tables {
        if sinks.iter().any(|sink| sink.name == table.name) {
            return Err(failure(format!("two sinks are called `{}`", table.name))
                .why("each keeps by its name how far it is")
                .next("give one of them another name"));
        }
        sinks.push(table.sink(base)?);
    }
    Ok(sinks)
}

impl Table {
    fn sink(&self, base: &Path) -> Result<Sink> {
        self.check_members()?;
        let shape = self.shape();
        let to = match self.kind {
            Kind::JsonLines => SinkTo::JsonLines {
                file: base.join(self.file.as_ref().ok_or_else(|| self.wants("file", FILE))?),
                shape,
            },
            Kind::HttpEventCollector => {
                let token = self.token(base)?.ok_or_else(|| self.wants("token", TOKEN))?;
                SinkTo::Collector { url: self.url()?, token, shape }
            }
            Kind::Opentelemetry => {
                SinkTo::OpenTelemetry { url: self.url()?, token: self.token(base)? }
            }
            Kind::Syslog => SinkTo::Syslog { url: self.syslog()?, shape },
        };
        let bound = SinkBound { entries: self.keep_entries, days: self.keep_days };
        if bound.entries == Some(0) || bound.days == Some(0) {
            return Err(self
                .wrong("keep_entries")
                .why("a sink that may not be behind at all gets nothing")
                .next(
                    "leave `keep_entries` and `keep_days` out, or say how far behind it may be",
                ));
        }
        Ok(Sink { name: self.name.clone(), to, bound })
    }

    /// What a kind has no use for is a mistake of whoever wrote it.
    fn check_members(&self) -> Result<()> {
        let is_file = self.kind == Kind::JsonLines;
        let has_token = matches!(self.kind, Kind::HttpEventCollector | Kind::Opentelemetry);
        let useless = [
            ("file", self.file.is_some() && !is_file),
            ("url", self.url.is_some() && is_file),
            ("token", self.token.is_some() && !has_token),
            ("events", self.events.is_some() && self.kind == Kind::Opentelemetry),
        ];
        match useless.into_iter().find(|(_, is_useless)| *is_useless) {
            None => Ok(()),
            Some((member, _)) => Err(self
                .wrong(member)
                .why("a sink of this kind has none")
                .next("take it out, or correct `kind`")),
        }
    }

    fn shape(&self) -> Shape {
        match self.events {
            Some(Events::Leaf) => Shape::Leaf,
            Some(Events::Ocsf1_8) => Shape::Ocsf(OcsfVersion::V1_8),
            None | Some(Events::Ocsf1_9) => Shape::Ocsf(OcsfVersion::V1_9),
        }
    }

    fn url(&self) -> Result<String> {
        self.url.clone().ok_or_else(|| {
            self.wants("url", "where it is, for example `https://siem.example:8088`")
        })
    }

    /// The one outbound client knows servers by `https`, and that is what this one is up to its protocol.
    fn syslog(&self) -> Result<String> {
        const FORM: &str = "write `tls://HOST` or `tls://HOST:PORT`; syslog is sent over TLS alone";
        let url = self.url()?;
        let place = url.strip_prefix("tls://").filter(|place| !place.contains(['/', '?', '#']));
        let place =
            place.ok_or_else(|| self.wrong("url").why("it is no server of syslog").next(FORM))?;
        let has_port = place.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        Ok(match has_port {
            true => format!("https://{place}"),
            false => format!("https://{place}:{SYSLOG_PORT}"),
        })
    }

    fn token(&self, base: &Path) -> Result<Option<SecretRef>> {
        let Some(reference) = &self.token else { return Ok(None) };
        let place = reference.parse::<SecretRef>();
        // Somebody may have put the secret itself there: it is not told.
        let place = place.map_err(|why| self.wrong("token").because(&why).next(TOKEN))?;
        Ok(Some(place.below(base)))
    }

    fn wrong(&self, member: &str) -> crate::failure::Named {
        failure(format!("`{member}` of the sink `{}` cannot be used", self.name))
    }

    fn wants(&self, member: &str, what: &str) -> Failure {
        failure(format!("the sink `{}` has no `{member}`", self.name))
            .why("a sink of this kind wants one")
            .next(format!("add `{member}`: {what}"))
    }
}

const FILE: &str = "the file that lines are added to";
const TOKEN: &str = "write `file:PATH` or `env:NAME`, where the secret is";
