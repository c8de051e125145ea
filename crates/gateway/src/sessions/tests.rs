use super::*;

fn agent(name: &str) -> IdentityId {
    format!("agent/{name}").parse().unwrap()
}

fn of(number: usize) -> Digest {
    let mut of = Digest::default();
    of.0[..8].copy_from_slice(&number.to_be_bytes());
    of
}

const NOW: Timestamp = Timestamp::from_millis(1_000_000);

#[test]
fn the_clients_of_one_agent_leave_room_for_others() {
    let sessions = Sessions::default();
    let open = |agent: &IdentityId, number: usize| {
        sessions.open(format!("{agent} {number}"), of(number), agent, NOW)
    };
    let (greedy, other) = (agent("greedy"), agent("other"));
    for number in 0..MAX_OF_AGENT {
        open(&greedy, number).unwrap();
    }
    assert_eq!(open(&greedy, MAX_OF_AGENT), Err(TooMany));
    open(&other, MAX_OF_AGENT).unwrap();
    let ended = sessions.get(&format!("{greedy} 0"), of(0), NOW).unwrap();
    sessions.end(&ended);
    sessions.end(&ended);
    open(&greedy, MAX_OF_AGENT).unwrap();
    assert_eq!(open(&greedy, MAX_OF_AGENT + 1), Err(TooMany));
}

#[tokio::test]
async fn a_session_that_makes_room_or_is_over_ends_what_is_on_its_way_in_it() {
    let sessions = Sessions::default();
    let open = |id: &str, now| sessions.open(id.to_owned(), of(1), &agent("bot"), now).unwrap();
    open("oldest", NOW);
    let oldest = sessions.get("oldest", of(1), NOW).unwrap();
    let (live, told) = (oldest.begin(&RequestId::Number(1)), oldest.tell());
    let later = NOW.plus_seconds(1);
    (0..MAX_OF_ONE).for_each(|number| open(&number.to_string(), later));
    live.cancelled().await;
    told.notified().await;
    assert_eq!(sessions.ended(), [oldest.holder()]);

    let other = sessions.get("0", of(1), later).unwrap();
    let live = other.begin(&RequestId::Number(1));
    open("last", later.plus_seconds(u32::try_from(IDLE_SECONDS).unwrap()));
    live.cancelled().await;
    assert_eq!(sessions.open.len(), 1);
    assert_eq!(sessions.ended().len(), MAX_OF_ONE, "and what they have with servers");
}

#[tokio::test]
async fn what_begins_in_a_session_that_has_ended_ends_at_once() {
    let sessions = Sessions::default();
    sessions.open("s".to_owned(), of(1), &agent("bot"), NOW).unwrap();
    let session = sessions.get("s", of(1), NOW).unwrap();
    sessions.end(&session);
    session.tell().notified().await;
    session.begin(&RequestId::Number(1)).cancelled().await;
}
