//! What an agent says of its node, and how it goes easy on a queue where the node is at fault.

use super::*;

#[test]
fn a_heartbeat_says_what_the_node_is_doing() {
    let mut scene = Scene::new();
    scene.start(&[]);
    scene.coordinator.wait_until("a heartbeat tells of the node", |facts| {
        let nodes = facts.heartbeats.iter().filter_map(|heartbeat| heartbeat.node.as_ref());
        nodes.into_iter().any(|node| node.load.is_some() && node.memory_total_bytes > node.memory_used_bytes)
    });
}
