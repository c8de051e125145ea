//! What a server offers beside tools: resources, prompts, completions. Each request for them is decided on like a call of a tool,
//! so the catalog holds each method as an entry of its own. Its definition is ours: the protocol says what it takes.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::tools::ToolDefinition;

/// The methods that are passed on, each with the capability that offers it and its definition.
const METHODS: [(Capability, &str); 9] = [
    (
        Capability::Resources,
        r#"{"name":"mcp:resources/list","description":"Lists the resources of the server.","inputSchema":{"type":"object","properties":{"cursor":{"type":"string"}}}}"#,
    ),
    (
        Capability::Resources,
        r#"{"name":"mcp:resources/templates/list","description":"Lists the templates of resource URIs of the server.","inputSchema":{"type":"object","properties":{"cursor":{"type":"string"}}}}"#,
    ),
    (
        Capability::Resources,
        r#"{"name":"mcp:resources/read","description":"Reads a resource of the server.","inputSchema":{"type":"object","properties":{"uri":{"type":"string"}},"required":["uri"]}}"#,
    ),
    (
        Capability::Subscriptions,
        r#"{"name":"mcp:resources/subscribe","description":"Wants to be told when a resource changes.","inputSchema":{"type":"object","properties":{"uri":{"type":"string"}},"required":["uri"]}}"#,
    ),
    (
        Capability::Subscriptions,
        r#"{"name":"mcp:resources/unsubscribe","description":"Does not want to be told any more when a resource changes.","inputSchema":{"type":"object","properties":{"uri":{"type":"string"}},"required":["uri"]}}"#,
    ),
    (
        Capability::Listening,
        r#"{"name":"mcp:subscriptions/listen","description":"Wants to be told, for as long as it listens, when resources or lists change.","inputSchema":{"type":"object","properties":{"notifications":{"type":"object"}},"required":["notifications"]}}"#,
    ),
    (
        Capability::Prompts,
        r#"{"name":"mcp:prompts/list","description":"Lists the prompts of the server.","inputSchema":{"type":"object","properties":{"cursor":{"type":"string"}}}}"#,
    ),
    (
        Capability::Prompts,
        r#"{"name":"mcp:prompts/get","description":"Fills in a prompt of the server.","inputSchema":{"type":"object","properties":{"name":{"type":"string"},"arguments":{"type":"object","additionalProperties":{"type":"string"}}},"required":["name"]}}"#,
    ),
    (
        Capability::Completions,
        r#"{"name":"mcp:completion/complete","description":"Proposes values for an argument of a prompt or a resource template.","inputSchema":{"type":"object","properties":{"ref":{"type":"object"},"argument":{"type":"object"},"context":{"type":"object"}},"required":["ref","argument"]}}"#,
    ),
];

/// What a server says that it offers ([MCP, capabilities](https://modelcontextprotocol.io/specification/2025-11-25/basic/lifecycle#capability-negotiation)).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "Declared")]
pub(super) struct Offers {
    resources: bool,
    subscriptions: bool,
    listening: bool,
    prompts: bool,
    completions: bool,
}

#[derive(Clone, Copy)]
enum Capability {
    Resources,
    /// To be told that a resource changed, in a session.
    Subscriptions,
    /// The same since 2026-07-28, with whatever else changed.
    Listening,
    Prompts,
    Completions,
}

/// The capabilities as they stand on the wire; what is in them, and all others, changes nothing here.
#[derive(Deserialize)]
struct Declared {
    #[serde(default)]
    resources: Option<Resources>,
    #[serde(default)]
    prompts: Option<serde::de::IgnoredAny>,
    #[serde(default)]
    completions: Option<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
struct Resources {
    #[serde(default)]
    subscribe: bool,
}

impl From<Declared> for Offers {
    fn from(declared: Declared) -> Self {
        let Declared { resources, prompts, completions } = declared;
        let subscriptions = resources.as_ref().is_some_and(|it| it.subscribe);
        Self {
            resources: resources.is_some(),
            subscriptions,
            listening: subscriptions,
            prompts: prompts.is_some(),
            completions: completions.is_some(),
        }
    }
}

impl Offers {
    /// The entries of what is offered.
    pub(super) fn definitions(self) -> impl Iterator<Item = ToolDefinition> {
        METHODS.into_iter().filter(move |(capability, _)| self.has(*capability)).map(|(_, text)| {
            let raw: &RawValue = serde_json::from_str(text).expect("our own definitions are JSON");
            ToolDefinition::of_method(raw).expect("our own definitions are sound")
        })
    }

    /// What a server of the revisions before 2026-07-28 offers: it has no streams to listen to.
    pub(super) fn before_listening(self) -> Self {
        Self { listening: false, ..self }
    }

    /// Whether there is anything beside tools.
    pub(super) fn any(self) -> bool {
        self != Self::default()
    }

    fn has(self, capability: Capability) -> bool {
        match capability {
            Capability::Resources => self.resources,
            Capability::Subscriptions => self.subscriptions,
            Capability::Listening => self.listening,
            Capability::Prompts => self.prompts,
            Capability::Completions => self.completions,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_has_entries_for_what_it_says_that_it_offers() {
        let names = |declared: &str| -> Vec<String> {
            let offers: Offers = serde_json::from_str(declared).unwrap();
            offers.definitions().map(|it| it.name().to_owned()).collect()
        };
        assert_eq!(names(r#"{"tools":{},"logging":{}}"#), Vec::<String>::new());
        assert_eq!(
            names(r#"{"resources":{"subscribe":true},"completions":{}}"#),
            [
                "mcp:resources/list",
                "mcp:resources/templates/list",
                "mcp:resources/read",
                "mcp:resources/subscribe",
                "mcp:resources/unsubscribe",
                "mcp:subscriptions/listen",
                "mcp:completion/complete"
            ]
        );
        assert_eq!(names(r#"{"resources":{}}"#).len(), 3);
        assert_eq!(names(r#"{"prompts":{}}"#), ["mcp:prompts/list", "mcp:prompts/get"]);
    }
}
