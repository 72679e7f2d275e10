//! `topic-trigger` on the older generation of the crates; it publishes to `heard`.

use momento_functions::spawn;
use momento_functions_host::topics::publish;

spawn!(pass_on);
fn pass_on(message: Vec<u8>) {
    publish("heard", message).expect("the topic takes a message");
}
