//! Logs through both generations of the interface: each configures a topic, then each logs the request's body.

use log::Level;
use momento_functions_guest_web::{WebResult, invoke};
use momento_functions_host::logging::{
    LogConfiguration, LogDestination, configure_host_logging, log as log_old,
};
use momento_functions_host_log::wit::momento::log::logging::{
    ConfigureLoggingInput, Destination, LogLevel, TopicDestination, configure_logging, log,
};

invoke!(log_mixed);
fn log_mixed(text: String) -> WebResult<String> {
    configure_host_logging([LogConfiguration::new(LogDestination::topic("old"))])?;
    let added = configure_logging(&[ConfigureLoggingInput {
        log_level: LogLevel::Warn,
        system_logs_level: LogLevel::Off,
        destination: Destination::Topic(TopicDestination {
            topic_name: "new".to_string(),
        }),
    }]);
    log_old(&format!("old {text}"), Level::Warn);
    log(&format!("new {text}"), LogLevel::Info);
    Ok(format!("{added:?}"))
}
