use serde::{Deserialize, Serialize};

use crate::{Authority, IdentityId, Name, Seconds};

/// A pre-approved template for agents of one kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Blueprint {
    /// Its name.
    pub name: Name,
    /// What agents of this kind are for.
    pub purpose: String,
    /// The one person who answers for the template.
    pub owner: IdentityId,
    /// Who stands in.
    pub deputy: Option<IdentityId>,
    /// What agents of this kind may do; an agent's own right is never more.
    pub authority: Authority,
    /// The longest life of a token, in seconds.
    pub token_ttl_seconds: Seconds,
    /// Blueprints whose agents may act below an agent of this one.
    pub children: Vec<Name>,
    /// How agents prove that a token is theirs.
    #[serde(default, skip_serializing_if = "Sender::is_bound")]
    pub sender: Sender,
}

/// What must come with a token so that it counts, from the least to the most that is risked.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Sender {
    /// A proof of the key that it is bound to ([RFC 9449](https://www.rfc-editor.org/rfc/rfc9449)).
    #[default]
    Dpop,
    /// Nothing, where the agent asks for such a token: whoever has it can use it
    /// ([RFC 6750](https://www.rfc-editor.org/rfc/rfc6750)).
    Bearer,
}

impl Sender {
    /// Whether no token counts without a key.
    pub fn is_bound(&self) -> bool {
        *self == Self::Dpop
    }
}

impl Blueprint {
    /// Whether agents may do no more by this than by the template `before` it, and the same people answer for it.
    pub fn narrows(&self, before: &Self) -> bool {
        before.authority.contains(&self.authority)
            && self.children.iter().all(|child| before.children.contains(child))
            && self.token_ttl_seconds <= before.token_ttl_seconds
            && self.sender <= before.sender
            && (&self.owner, &self.deputy) == (&before.owner, &before.deputy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::IdentityKind;

    fn person(name: &str) -> IdentityId {
        IdentityId::new(IdentityKind::Person, name.parse().unwrap())
    }

    #[test]
    fn a_template_narrows_another_when_its_agents_may_do_no_more_by_it() {
        let before = Blueprint {
            name: "support".parse().unwrap(),
            purpose: "answers customers".to_owned(),
            owner: person("p1"),
            deputy: Some(person("p2")),
            authority: Authority { clauses: Vec::new(), depth: 2 },
            token_ttl_seconds: 300,
            children: vec!["lookup".parse().unwrap()],
            sender: Sender::Dpop,
        };
        let changed = |change: fn(&mut Blueprint)| {
            let mut next = before.clone();
            change(&mut next);
            next.narrows(&before)
        };
        assert!(changed(|_| ()));
        assert!(changed(|next| next.children.clear()));
        assert!(changed(|next| next.authority.depth = 1));
        assert!(changed(|next| next.purpose = "answers only some".to_owned()));
        assert!(!changed(|next| next.authority.depth = 3));
        assert!(!changed(|next| next.children.push("mailer".parse().unwrap())));
        assert!(!changed(|next| next.owner = person("p3")));
        assert!(!changed(|next| next.deputy = None));
        assert!(!changed(|next| next.token_ttl_seconds = 301));
        assert!(!changed(|next| next.sender = Sender::Bearer));
        let loose = Blueprint { sender: Sender::Bearer, ..before.clone() };
        assert!(before.narrows(&loose), "taking the member away takes away");
    }

    #[test]
    fn a_template_that_says_nothing_of_its_senders_reads_and_writes_as_before() {
        let written = |sender| serde_json::to_value(sender).unwrap();
        assert_eq!(
            (written(Sender::Dpop), written(Sender::Bearer)),
            ("dpop".into(), "bearer".into())
        );
        assert!(serde_json::from_value::<Sender>("key".into()).is_err());
        let text = r#"{"name":"a","purpose":"","owner":"person/p1","deputy":null,"authority":{"clauses":[],"depth":0},"token_ttl_seconds":60,"children":[]}"#;
        let blueprint: Blueprint = serde_json::from_str(text).unwrap();
        assert_eq!(blueprint.sender, Sender::Dpop);
        assert_eq!(serde_json::to_string(&blueprint).unwrap(), text);
    }
}
