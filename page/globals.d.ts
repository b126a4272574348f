// Types of what the page's scripts find in the browser: the vendored library, and modules that the server makes.

/** `vendor/idiomorph.min.js`, loaded before the modules. */
declare const Idiomorph: {
  morph(old: Element, next: string | Element, options?: {
    morphStyle?: "innerHTML" | "outerHTML";
    ignoreActive?: boolean;
    ignoreActiveValue?: boolean;
    callbacks?: {
      beforeNodeMorphed?(old: Element, next: Element): boolean | void;
      beforeAttributeUpdated?(name: string, element: Element, kind: "update" | "remove"): boolean | void;
    };
  }): Node[];
};

/** The catalogue of one language, which `src/http/page/assets.rs` writes. */
declare module "*/texts/ko.js" {
  const texts: Record<string, string>;
  export default texts;
}
declare module "*/texts/en.js" {
  const texts: Record<string, string>;
  export default texts;
}

/** `clients/js`, which is served beside the components. */
declare module "*/client/index.js" {
  export const follow: typeof import("../clients/js/src/index.js").follow;
  export const events: typeof import("../clients/js/src/index.js").events;
  export const FollowError: typeof import("../clients/js/src/index.js").FollowError;
  export type StageEvent = import("../clients/js/src/index.js").StageEvent;
  export type SuccessEvent = import("../clients/js/src/index.js").SuccessEvent;
  export type FailEvent = import("../clients/js/src/index.js").FailEvent;
  export type DeploymentEvent = import("../clients/js/src/index.js").DeploymentEvent;
  export type ConnectionState = import("../clients/js/src/index.js").ConnectionState;
  export type ConnectionEvent = import("../clients/js/src/index.js").ConnectionEvent;
  export type DeploymentResult = import("../clients/js/src/index.js").DeploymentResult;
  export type End = import("../clients/js/src/index.js").End;
  export type EventSourceLike = import("../clients/js/src/index.js").EventSourceLike;
  export type ConnectOptions = import("../clients/js/src/index.js").ConnectOptions;
  export type FollowOptions = import("../clients/js/src/index.js").FollowOptions;
  export type Following = import("../clients/js/src/index.js").Following;
}
declare module "*/client/follow.js" {
  export const follow: typeof import("../clients/js/src/index.js").follow;
}
