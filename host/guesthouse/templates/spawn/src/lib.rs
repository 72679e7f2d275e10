//! A spawn function: another function starts it with a payload, and nobody waits for it.
//! The host counts how it ends: `Ok` and `Err` are both recorded, with a note in its log.

use momento_functions_bytes::encoding::Json;
use momento_functions_guest_spawn::spawn;
use serde::Deserialize;

#[derive(Deserialize)]
struct Job {
    name: String,
}

spawn!(work);
fn work(Json(job): Json<Job>) -> Result<(), String> {
    let greeting = greeting(&job.name)?;
    println!("{greeting}");
    Ok(())
}

fn greeting(name: &str) -> Result<String, String> {
    if name.is_empty() {
        return Err("nobody to greet".into());
    }
    Ok(format!("Hello, {name}!"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_greeting_has_the_name() {
        assert_eq!(greeting("Ada"), Ok("Hello, Ada!".into()));
    }

    #[test]
    fn nobody_is_not_greeted() {
        assert!(greeting("").is_err());
    }
}
