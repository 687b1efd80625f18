// The contrast of each element that axe could not judge, such as text over a picture or in an SVG.
(selectors) => {
  const parse = (/** @type {string} */ text) => {
    const numbers = text.match(/[\d.]+%?/g) ?? [];
    const scale = text.startsWith("color(srgb") ? 255 : 1;
    const [r, g, b, a = "1"] = numbers;
    return [Number(r) * scale, Number(g) * scale, Number(b) * scale, a.endsWith("%") ? parseFloat(a) / 100 : Number(a)];
  };
  const blend = (top, under) => top.slice(0, 3).map((value, place) => value * top[3] + under[place] * (1 - top[3]));
  const luminance = (color) => {
    const [r, g, b] = color.map((value) => value / 255)
      .map((value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  // The shapes of an SVG that are painted under its text, from the top: they are not its ancestors.
  const shapesUnder = (element) => {
    if (!(element instanceof SVGElement)) return [];
    element.scrollIntoView({ block: "center" });
    const box = element.getBoundingClientRect();
    const stack = document.elementsFromPoint(box.x + box.width / 2, box.y + box.height / 2);
    return stack
      .filter((one) => one instanceof SVGGeometryElement && getComputedStyle(one).fill !== "none")
      .map((one) => {
        const { fill, fillOpacity, opacity } = getComputedStyle(one);
        const [r, g, b, a] = parse(fill);
        return [r, g, b, a * Number(fillOpacity) * Number(opacity)];
      });
  };
  const background = (element) => {
    const layers = shapesUnder(element);
    if (layers.some((layer) => layer[3] === 1)) layers.splice(layers.findIndex((layer) => layer[3] === 1) + 1);
    if (layers.at(-1)?.[3] === 1) return layers.reverse().reduce((under, layer) => blend(layer, under), [0, 0, 0]);
    for (let at = element; at; at = at.parentElement) {
      const style = getComputedStyle(at);
      if (at instanceof SVGElement) continue;
      layers.push(parse(style.backgroundColor));
      if (layers.at(-1)[3] === 1) break;
    }
    return layers.reverse().reduce((under, layer) => blend(layer, under), [255, 255, 255]);
  };
  return selectors.flatMap((selector) => [...document.querySelectorAll(selector)].map((element) => {
    const style = getComputedStyle(element);
    const under = background(element);
    const ink = parse(element instanceof SVGElement ? style.fill : style.color);
    const text = blend(ink, under);
    const [lighter, darker] = [luminance(text), luminance(under)].sort((a, b) => b - a);
    const size = parseFloat(style.fontSize);
    const large = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
    return { selector, ratio: (lighter + 0.05) / (darker + 0.05), wanted: large ? 3 : 4.5 };
  }));
}
