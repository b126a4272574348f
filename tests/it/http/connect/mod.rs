mod aws;
mod github;
mod secrets;
