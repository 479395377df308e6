/* WHM loads scripts of its own, too. */
window.chromeLoaded = true;
