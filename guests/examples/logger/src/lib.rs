//! Logs the request's body at every level. The lines go to the topic `?topic=`, or else to one
//! named like the function; the destination takes those at `?level=` and above.

use log::{LevelFilter, debug, error, info, trace, warn};
use momento_functions_guest_web::{WebEnvironment, WebResult, invoke};
use momento_functions_host_log::{LogConfiguration, LogDestination, configure_logs};

invoke!(logger);
fn logger(message: String) -> WebResult<()> {
    let request = WebEnvironment::load();
    let query = request.query_parameters();
    let topic = query.get("topic").unwrap_or(request.function_name());
    let level = match query.get("level") {
        Some(level) => level.parse()?,
        None => LevelFilter::Info,
    };
    configure_logs([LogConfiguration::new(LogDestination::topic(topic)).with_log_level(level)])?;

    trace!("{message}"); // stays in the guest: the crate passes on debug and above
    debug!("{message}");
    info!("{message}");
    warn!("{message}");
    error!("{message}");
    Ok(())
}
