//! Events for an HTTP event collector: objects one behind the other, as Splunk and those who imitate it take them.

use serde_json::json;

use super::{Event, Shape};

impl Event<'_> {
    /// The event for a collector. The indexed fields tell two copies of one event apart from two events.
    pub fn hec(&self, shape: Shape) -> Vec<u8> {
        let at = self.entry.leaf.at.millis();
        let source_type = match shape {
            Shape::Leaf => "bailiwick:leaf",
            Shape::Ocsf(_) => "bailiwick:ocsf",
        };
        let event = json!({
            // Seconds with three digits behind the point; as a text no reader rounds them.
            "time": format!("{}.{:03}", at.div_euclid(1000), at.rem_euclid(1000)),
            "host": self.origin,
            "source": "bailiwick",
            "sourcetype": source_type,
            "event": self.shaped(shape),
            "fields": {
                "hash": self.entry.hash.to_string(),
                "index": self.entry.index,
                "kind": self.entry.leaf.kind,
            },
        });
        event.to_string().into_bytes()
    }
}
