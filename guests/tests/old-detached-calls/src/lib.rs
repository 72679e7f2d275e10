//! Detached work beside the older generation of the crates: each line of the body is a task, of that name, which publishes
//! its name to the topic `detached`; one that begins with a `-` fails, after that.

use guesthouse_guest::detached;
use momento_functions::post;
use momento_functions_host::topics::publish;

fn task(name: String) -> Result<(), String> {
    publish("detached", name.as_str()).map_err(|error| error.to_string())?;
    match name.starts_with('-') {
        true => Err("asked to".into()),
        false => Ok(()),
    }
}

post!(old_detached_calls);
fn old_detached_calls(body: Vec<u8>) -> String {
    for name in String::from_utf8_lossy(&body).lines() {
        let name = name.to_owned();
        detached(&name.clone(), move || task(name));
    }
    "answered".into()
}
