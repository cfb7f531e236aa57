//! A section against real files: what `weir validate --connect` says.

use tempfile::TempDir;

use super::*;

const TABLES: &str = "create table units(name text, cores integer, memo varchar(10), load real);
    insert into units values ('a', 4, '7', 0.5)";

/// What is said of a section; `{db}` stands for the path of a database with [`TABLES`].
async fn said(yaml: &str) -> Vec<String> {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("x.db");
    rusqlite::Connection::open(&path).unwrap().execute_batch(TABLES).unwrap();
    let shown = path.display().to_string();
    let section = Section::from_yaml(ID, &yaml.replace("{db}", &shown)).unwrap();
    let checked = check::check(&section).unwrap_or_else(|problems| panic!("{problems}"));
    let problems = check_connected::check(section, checked, Duration::from_secs(5)).await;
    problems.iter().map(|problem| problem.to_string().replace(&shown, "{db}")).collect()
}

fn one(sql: &str, metric: &str) -> String {
    format!(
        "driver: sqlite\ndatasource: '{{db}}'\nqueries:\n  - sql: {sql:?}\n    metrics:\n      - {{metric_name: m, {metric}}}\n"
    )
}

#[tokio::test]
async fn what_fits_is_passed_over_in_silence() {
    for metric in ["value_column: cores, attribute_columns: [name]", "value_column: load, value_type: double"] {
        assert_eq!(said(&one("select * from units", metric)).await, [] as [&str; 0], "{metric}");
    }
    let counted = one("select count(*) as n from units", "value_column: n");
    assert_eq!(said(&counted).await, [] as [&str; 0]);
}

#[tokio::test]
async fn a_column_that_is_not_there_is_told_at_its_key() {
    let metric = "value_column: cpu, attribute_columns: [Name, load]";
    assert_eq!(
        said(&one("select name, cores from units", metric)).await,
        [
            "6:40: error: sql_query/x::queries[0]::metrics[0]::value_column: column 'cpu' (of m) not found in result set; it has name, cores",
            "6:65: error: sql_query/x::queries[0]::metrics[0]::attribute_columns[0]: column 'Name' (of m) not found in result set; it has \
             'name': names are compared exactly",
            "6:71: error: sql_query/x::queries[0]::metrics[0]::attribute_columns[1]: column 'load' (of m) not found in result set; it has \
             name, cores",
        ]
    );
}

#[tokio::test]
async fn a_text_where_a_number_is_wanted_is_a_warning_because_numbers_may_be_written_in_it() {
    assert_eq!(
        said(&one("select memo from units", "value_column: memo")).await,
        [
            "6:40: warning: sql_query/x::queries[0]::metrics[0]::value_column: column 'memo' has the type varchar(10): where a text \
             is no number, there is no point (cast it in the SQL)"
        ]
    );
}

#[tokio::test]
async fn a_wrong_statement_is_told_with_the_place_in_it() {
    let sql = "select name,\n  ä.cores, nonsense from units ä";
    assert_eq!(
        said(&one(sql, "value_column: cores")).await,
        [
            "4:10: error: sql_query/x::queries[0]::sql: line 2, column 12 of the statement: no such column: nonsense, at `nonsense \
             from units ä`"
        ]
    );
    let writes = said(&one("delete from units returning cores", "value_column: cores")).await;
    assert!(writes[0].contains("the statement does more than read this database"), "{writes:?}");
    let nothing = said(&one("begin", "value_column: cores")).await;
    assert!(nothing[0].contains("gives no rows; write a select"), "{nothing:?}");
    let parameters = said(&one("select cores from units where name = $1", "value_column: cores")).await;
    assert!(parameters[0].contains("has 1 parameters ($1, …) and gets 0"), "{parameters:?}");
}

#[tokio::test]
async fn what_only_one_of_several_databases_says_is_told_of_that_one() {
    let yaml = "driver: sqlite
targets:
  - {name: a, datasource: '{db}'}
  - {name: b, datasource: '{db}.not'}
  - {name: c, datasource: '{db}'}
queries:
  - sql: select cores from units
    metrics: [{metric_name: m, value_column: cpus}]
";
    assert_eq!(
        said(yaml).await,
        [
            "4:27: error: sql_query/x::targets[1]::datasource: target b: the database {db}.not does not exist",
            "8:46: error: sql_query/x::queries[0]::metrics[0]::value_column: targets a, c: column 'cpus' (of m) not found in result \
             set; it has cores",
        ]
    );
}

#[tokio::test]
async fn nothing_is_run() {
    // A billion rows would take minutes.
    let endless = "with recursive n(i) as (select 1 union all select i + 1 from n where i < 1000000000) select sum(i) as s from n";
    // Were it run, the time that asking may take would be up, and that would be said.
    assert_eq!(said(&one(endless, "value_column: s")).await, [] as [&str; 0]);
}
