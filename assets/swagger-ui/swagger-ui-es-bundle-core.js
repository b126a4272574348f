/* Left out: the page of /swagger-ui loads swagger-ui-bundle.js. See docs/decisions/0052-libraries-and-sizes.md. */
