//! What a server offers beside tools: resources, prompts, completions. Each request for them is decided on like a call of a tool,
//! so the catalog holds each method as an entry of its own. Its definition is ours: the protocol says what it takes.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::tools::ToolDefinition;

/// The methods that are passed on, each with the capability that offers it and its definition.
const METHODS: [(Capability, &str); 6] = [
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
    prompts: bool,
    completions: bool,
}

#[derive(Clone, Copy)]
enum Capability {
    Resources,
    Prompts,
    Completions,
}

/// The capabilities as they stand on the wire; what is in them, and all others, changes nothing here.
#[derive(Deserialize)]
struct Declared {
    #[serde(default)]
    resources: Option<serde::de::IgnoredAny>,
    #[serde(default)]
    prompts: Option<serde::de::IgnoredAny>,
    #[serde(default)]
    completions: Option<serde::de::IgnoredAny>,
}

impl From<Declared> for Offers {
    fn from(declared: Declared) -> Self {
        let Declared { resources, prompts, completions } = declared;
        Self {
            resources: resources.is_some(),
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

    /// Whether there is anything beside tools.
    pub(super) fn any(self) -> bool {
        self != Self::default()
    }

    fn has(self, capability: Capability) -> bool {
        match capability {
            Capability::Resources => self.resources,
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
                "mcp:completion/complete"
            ]
        );
        assert_eq!(names(r#"{"prompts":{}}"#), ["mcp:prompts/list", "mcp:prompts/get"]);
    }
}
