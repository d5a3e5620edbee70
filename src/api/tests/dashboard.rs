//! The dashboard's files, and the pages of rows that it asks for. What it looks like is tested in a browser (`tests/browser`).

use super::*;
use crate::protocol::listing::{ConfigurationsResponse, TrialsResponse};

fn http() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().build().unwrap()
}

#[tokio::test]
async fn the_page_is_for_everybody_and_allows_nothing_but_its_own_files() {
    let server = serve_on_a_free_port().await;
    let page = http().get(format!("{}/", server.url)).send().await.unwrap();
    assert_eq!(page.status().as_u16(), 200);
    let headers = page.headers().clone();
    let policy = headers["content-security-policy"].to_str().unwrap();
    for part in ["default-src 'none'", "script-src 'self';", "connect-src 'self'", "frame-ancestors 'none'"] {
        assert!(policy.contains(part), "{policy}");
    }
    assert_eq!(headers["referrer-policy"], "no-referrer");
    assert_eq!(headers["x-content-type-options"], "nosniff");
    let text = page.text().await.unwrap();
    assert!(!text.contains("<script>") && !text.contains("style="), "no script stands in the page");
    // Every file that it names is there, and nothing comes from elsewhere.
    let names: Vec<&str> = text.split('"').filter(|part| part.starts_with("dashboard/")).collect();
    assert!(names.len() >= 6 && !text.contains("//"), "{names:?}");
    for name in names {
        let file = http().get(format!("{}/{name}", server.url)).send().await.unwrap();
        assert_eq!(file.status().as_u16(), 200, "{name}");
        let tag = file.headers()["etag"].clone();
        let again = http().get(format!("{}/{name}", server.url)).header("if-none-match", tag);
        assert_eq!(again.send().await.unwrap().status().as_u16(), 304, "{name}");
    }
}

#[tokio::test]
async fn the_page_opens_no_way_around_the_token() {
    let server = serve_on_a_free_port().await;
    for (method, path, status) in [
        (reqwest::Method::POST, "/", 405),
        (reqwest::Method::GET, "/dashboard/", 401),
        (reqwest::Method::GET, "/dashboard/../v1/status", 401),
        (reqwest::Method::GET, "/dashboard/none.js", 401),
        (reqwest::Method::GET, "/v1/sweeps/1/trials", 401),
        (reqwest::Method::GET, "/v1/sweeps/1/configurations", 401),
    ] {
        let answer = http().request(method.clone(), format!("{}{path}", server.url)).send().await.unwrap();
        assert_eq!(answer.status().as_u16(), status, "{method} {path}");
        assert_eq!(answer.headers()["content-type"], "application/problem+json", "{method} {path}");
    }
}

#[tokio::test]
async fn pages_have_the_size_that_is_asked_for_within_bounds() {
    let server = serve_on_a_free_port().await;
    let client = Client::new(&server.url, "secret").unwrap();
    let spec = "command: [/bin/true]\nseeds: 2\nparameters: {x: [1, 2, 3]}\n";
    client.submit(&submit_request(spec)).await.unwrap();
    let get = async |path: &str| server.ask(|http, url| http.get(format!("{url}/v1/sweeps/1/{path}"))).await;
    let page: TrialsResponse =
        get("trials?limit=4&offset=3&find=x%3D2&order=newest").await.json().await.unwrap();
    assert_eq!((page.total, page.trials.len(), page.swept), (2, 0, vec!["x".to_owned()]));
    let page: TrialsResponse = get("trials?limit=4&offset=3").await.json().await.unwrap();
    assert_eq!((page.total, page.trials.len()), (6, 3));
    let page: ConfigurationsResponse = get("configurations?limit=2&offset=1").await.json().await.unwrap();
    let ranks: Vec<u64> = page.configurations.iter().map(|configuration| configuration.rank).collect();
    assert_eq!((page.total, ranks), (3, vec![2, 3]));
    for path in [
        "trials?limit=0",
        "trials?limit=501",
        "trials?offset=-1",
        "trials?order=best%20first",
        "configurations?limit=501",
    ] {
        assert_eq!(get(path).await.status().as_u16(), 400, "{path}");
    }
    let problem: Problem = get("configurations?metric=top2").await.json().await.unwrap();
    assert_eq!((problem.status, problem.code.as_str()), (404, "no_such_metric"));
}
