// Details are opened before printing, because closed ones print nothing.
addEventListener("beforeprint",()=>document.querySelectorAll("details").forEach(d=>d.open=true));
for(const box of document.querySelectorAll(".simulator")){
 const data=JSON.parse(box.querySelector("script").textContent);
 const products=3,table=document.createElement("table"),chosen=[];
 const row=label=>{const r=table.insertRow();const th=document.createElement("th");th.textContent=label;r.append(th);return r};
 const head=row("");
 for(let p=0;p<products;p++){const th=document.createElement("th");th.textContent="Product "+(p+1);head.append(th);chosen.push([])}
 data.attributes.forEach((attribute,a)=>{
  const r=row(attribute.name);
  for(let p=0;p<products;p++){
   const select=document.createElement("select");
   select.setAttribute("aria-label",attribute.name+", product "+(p+1));
   attribute.levels.forEach((level,l)=>{const o=new Option(level[0],l);select.add(o)});
   select.selectedIndex=p%attribute.levels.length;
   select.addEventListener("change",update);
   chosen[p].push(select);r.insertCell().append(select)}});
 const shares=row("Share"),cells=[];
 for(let p=0;p<products;p++){const o=document.createElement("output");cells.push(o);shares.insertCell().append(o)}
 const rest=document.createElement("p");rest.className="base";
 function update(){
  const worths=chosen.map(selects=>selects.reduce((sum,s,a)=>sum+data.attributes[a].levels[s.selectedIndex][1],0));
  if(data.none!==null)worths.push(data.none);
  const top=Math.max(...worths),weights=worths.map(w=>Math.exp(w-top)),total=weights.reduce((a,b)=>a+b,0);
  cells.forEach((cell,p)=>cell.textContent=Math.round(100*weights[p]/total)+" %");
  rest.textContent=data.none===null?"":"None of them: "+Math.round(100*weights[products]/total)+" %"}
 box.append(table,rest);box.hidden=false;update()}
