//! `tollgate dashboards`: Grafana's boards, made from the table of metrics.
//!
//! Why it exists: a board that names a metric that nobody writes shows nothing on the night when it is needed. Here a
//! panel takes its metric from the enum, so that it cannot. What it refuses to know: Grafana's provisioning, which is
//! files beside the boards. To add a panel: a line in `dashboards/boards.rs`, then run the command on
//! `dashboards/grafana/boards`; to add a kind of panel: `dashboards/board.rs`.

mod board;
mod boards;
mod query;

use super::args::DashboardsArgs;
use super::console::Console;
use super::exit::{Exit, Failure};

pub(crate) fn run(args: &DashboardsArgs, console: Console) -> Result<Exit, Failure> {
    let unwritable = |path: &std::path::Path, why: &std::io::Error| {
        Failure::usage(format!("{} cannot be written: {why}", path.display()))
    };
    std::fs::create_dir_all(&args.folder).map_err(|why| unwritable(&args.folder, &why))?;
    for board in boards::all() {
        let path = args.folder.join(format!("{}.json", board.uid()));
        std::fs::write(&path, board.text()).map_err(|why| unwritable(&path, &why))?;
        console.data(path.display())?;
    }
    Ok(Exit::Ok)
}
