// The token: asked for by a person, kept in this tab, sent as a header, never part of an address.

const NAME = "quantum-trader-token";

export const held = () => sessionStorage.getItem(NAME) ?? "";
export const hold = (token) => sessionStorage.setItem(NAME, token);
export const forget = () => sessionStorage.removeItem(NAME);
export const bearer = () => (held() ? { Authorization: `Bearer ${held()}` } : {});
